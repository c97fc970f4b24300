"""Does the API keep to its own description, whatever is sent? schemathesis asks, knowing nothing else of it.

What it does is in schemathesis.toml, and what it must be told besides in what_no_schema_says.py.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from pydantic import SecretStr

from paidonce.app.api import examples
from paidonce.app.api.links import LINKS
from paidonce.app.main import OPERATIONS, config
from paidonce.app.settings import Settings
from paidonce.devstack.postgres import Postgres

HERE = Path(__file__).parent
SEED = 20
#: No worker runs here. So that there is something to give back, every other payment is charged as it comes in.
CHARGED_AT_ONCE = """
    CREATE SEQUENCE every;
    CREATE FUNCTION charge() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('every') % 2 = 0 THEN
            NEW.status = 'captured';
            NEW.provider_charge_id = 'ch_' || NEW.id;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER charged_at_once BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION charge()
"""

#: The payment and the refund that the description has for examples: whoever asks for those finds them.
EXAMPLES = f"""
    INSERT INTO payments (id, tenant, status, amount, currency, payment_method, provider_charge_id)
    VALUES ('{examples.PAYMENT_ID}', 'acme', 'captured', 99999999999, 'EUR', 'pm_ok', 'ch_example');
    INSERT INTO refunds (id, payment_id, tenant, status, amount)
    VALUES ('{examples.REFUND_ID}', '{examples.PAYMENT_ID}', 'acme', 'pending', 1)
"""


@dataclass(frozen=True)
class Outside:
    """The API, and who may call it."""

    api: str
    #: tenant -> token
    tokens: dict[str, str] = field(repr=False)
    secret: str = field(repr=False)

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens['acme']}"}
        return httpx.Client(base_url=self.api, headers=headers, trust_env=False)


@pytest.fixture(scope="module")
def charging_database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"paidonce_{uuid4().hex[:12]}"
    dsn = urlsplit(postgres.dsn)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        with psycopg.connect(dsn) as tx:
            tx.execute(EXAMPLES)
            tx.execute(CHARGED_AT_ONCE)
        yield dsn
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def outside(
    api_settings: Settings,
    charging_database: str,
    serving: Callable[[uvicorn.Config], AbstractContextManager[str]],
    token: Callable[..., str],
) -> Iterator[Outside]:
    tokens = {tenant: token(tenant, roles=["admin", "operator"]) for tenant in ("acme", "globex")}
    with serving(config(api_settings.model_copy(update={"dsn": SecretStr(charging_database)}))) as api:
        yield Outside(api, tokens, api_settings.provider_secret.get_secret_value())


def asked(outside: Outside, folder: Path, *options: str) -> dict[str, Any]:
    """Run schemathesis over the whole document; return its report."""
    callers = [
        {"name": tenant, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}]}
        for tenant, token in outside.tokens.items()
    ]
    (folder / "callers.json").write_text(json.dumps({"schema_version": "0.2.0", "auth": callers}))
    environment = {
        "PAIDONCE_API": outside.api,
        "PAIDONCE_CALLERS": str(folder / "callers.json"),
        "PAIDONCE_PROVIDER_SECRET": outside.secret,
        "SCHEMATHESIS_HOOKS": str(HERE / "what_no_schema_says.py"),
    }
    report = folder / "report.json"
    command = [str(Path(sys.executable).with_name("st")), "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", f"{outside.api}/openapi.json", "--no-color", "--report-json-path", str(report), *options]
    done = subprocess.run(
        command, env=os.environ | environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(report.read_text()))


def check_that_it_asked(report: dict[str, Any]) -> None:
    """A tool that reaches nothing finds nothing: every operation has done what it is for."""
    assert {phase: told["status"] for phase, told in report["phases"].items()} == dict.fromkeys(
        ("examples", "coverage", "fuzzing", "stateful"), "success"
    )
    served = {
        operation
        for operation, phases in report["valid_rates"].items()
        if any(told["accepted"] for told in phases.values())
    }
    missing = {f"{operation.method} {operation.path}" for operation in OPERATIONS} - served
    assert missing <= NOT_SERVED, missing


NOT_SERVED = {
    "GET /openapi.json",  # the tool reads it first of all
    "POST /v1/carts/{cart_id}/checkout",  # wants the ETag of a cart: `test_links_lead_where_they_say` has one
}


@pytest.mark.timeout(120)
def test_the_api_does_what_its_description_says(outside: Outside, tmp_path: Path) -> None:
    check_that_it_asked(asked(outside, tmp_path, "--seed", str(SEED)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_api_does_what_its_description_says_at_length(outside: Outside, tmp_path: Path) -> None:
    """Another seed each time, which the report of a failure names."""
    check_that_it_asked(asked(outside, tmp_path, "--max-examples", "150"))


def test_links_lead_where_they_say(outside: Outside) -> None:
    """From the payment to its cancellation, from the cart to its payment, refund and back: only by links."""
    with outside.client() as client:
        walk = Walk(client)
        for _ in range(2):  # the one is charged at once, the other is not
            created = walk.go("payments_create", {"Idempotency-Key": uuid4().hex})
            read = walk.follow(created, "GetPayment")
            assert read.json()["id"] == created.json()["id"]
            patched = walk.follow(read, "PatchPayment")
            assert patched.json()["description"]
            if read.json()["status"] == "captured":
                refund = walk.follow(patched, "RefundPayment")
                assert walk.follow(refund, "GetRefund").json()["id"] == refund.json()["id"]
                assert walk.follow(refund, "GetPaymentOfRefund").json()["id"] == read.json()["id"]
                assert walk.follow(patched, "ListRefunds").json()["data"][0]["id"] == refund.json()["id"]
            else:
                assert walk.follow(patched, "CancelPayment").json()["status"] == "canceled"
        customer = walk.go("customers_put", {"customer_id": f"c-{uuid4()}"})
        for link in ("GetCustomer", "PutCustomer"):
            customer = walk.follow(customer, link)
        assert walk.follow(customer, "ListPaymentsOfCustomer").json()["data"] == []
        assert walk.follow(walk.follow(customer, "PatchCustomer"), "DeleteCustomer").status_code == 204
        cart = walk.go("carts_put", {"cart_id": f"c-{uuid4()}"})
        for link in ("GetCart", "PutCart"):
            cart = walk.follow(cart, link)
        paid = walk.follow(cart, "CheckoutCart")
        assert walk.follow(paid, "GetPayment").json()["amount"] == cart.json()["amount"]
        again = walk.go("carts_put", {"cart_id": f"c-{uuid4()}"})
        assert walk.follow(again, "DeleteCart").status_code == 204
        endpoint = walk.go("webhook_endpoint_put", {})
        for link in ("GetWebhookEndpoint", "PutWebhookEndpoint"):
            endpoint = walk.follow(endpoint, link)
        assert walk.follow(endpoint, "DeleteWebhookEndpoint").status_code == 204
        page = walk.go("payments_list", {"limit": "1"})
        assert walk.follow(page, "NextPage").json()["data"][0]["id"] != page.json()["data"][0]["id"]
        assert walk.followed == {link for links in LINKS.values() for link in links}


class Walk:
    """Goes through the API by its description alone: bodies are the document's examples."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        document = client.get("/openapi.json").json()
        self._operations = {
            said["operationId"]: (method, path, said)
            for path, item in document["paths"].items()
            for method, said in item.items()
        }
        #: answer -> the operation that it is of
        self._said: dict[int, dict[str, Any]] = {}
        self.followed: set[str] = set()

    def go(self, operation_id: str, values: dict[str, str]) -> httpx.Response:
        """Send what the document has as example, with `values` as parameters."""
        method, path, said = self._operations[operation_id]
        places = {parameter["name"]: parameter["in"] for parameter in said.get("parameters", [])}
        assert set(values) <= set(places)
        if "Idempotency-Key" in places:
            values = {"Idempotency-Key": uuid4().hex, **values}
        by_place = {
            place: {name: value for name, value in values.items() if places[name] == place}
            for place in ("path", "query", "header")
        }
        content = said.get("requestBody", {}).get("content", {})
        media_type, body = next(((name, each["example"]) for name, each in content.items()), (None, None))
        answer = self._client.request(
            method,
            path.format(**by_place["path"]),
            params=by_place["query"],
            headers=by_place["header"] | ({"Content-Type": media_type} if media_type else {}),
            content=None if media_type is None else json.dumps(body),
        )
        assert answer.is_success, (operation_id, values, answer.text)
        self._said[id(answer)] = said["responses"][str(answer.status_code)]
        return answer

    def follow(self, answer: httpx.Response, name: str) -> httpx.Response:
        """Go where a link of `answer` leads."""
        link = self._said[id(answer)]["links"][name]
        self.followed.add(name)
        values = {key.rpartition(".")[2]: self._value(answer, of) for key, of in link["parameters"].items()}
        return self.go(link["operationId"], values)

    @staticmethod
    def _value(answer: httpx.Response, expression: str) -> str:
        if expression.startswith("$response.header."):
            return answer.headers[expression.removeprefix("$response.header.")]
        member = expression.removeprefix("$response.body#/")
        assert member != expression
        return str(answer.json()[member])
