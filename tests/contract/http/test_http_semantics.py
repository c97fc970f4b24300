"""Does each method of each route keep what HTTP promises? Called three times; state and answers compared."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import psycopg
import pytest

from paidonce.app.main import OPERATIONS
from paidonce.app.settings import Settings
from paidonce.app.webhooks.signing import sign

PAYMENT = {"amount": 1999, "currency": "EUR", "payment_method": "pm_ok"}
SECRET = "whsec_" + "A" * 44

#: What three equal requests promise.
SAFE = "no state changes, three equal answers"
IDEMPOTENT = "state changes once at most, the second and third answer are equal"
REPLAYED = "state changes once, the stored answer comes again byte for byte"
CONDITIONAL = "state changes once, then the precondition fails"
REFUSED = "no state changes, a problem document each time"
RENEWED = "the same resource each time, under another version"


@dataclass
class Made:
    """What a case may need: a payment of its own, and how to call."""

    client: httpx.Client
    rows: psycopg.Connection
    settings: Settings
    payment_id: str = ""
    refund_id: str = ""
    customer_id: str = field(default_factory=lambda: f"c-{uuid4().hex[:8]}")
    cart_id: str = field(default_factory=lambda: f"cart-{uuid4().hex[:8]}")
    key: str = field(default_factory=lambda: uuid4().hex)

    def payment(self, status: str = "pending") -> str:
        created = self.client.post("/v1/payments", json=PAYMENT, headers={"Idempotency-Key": uuid4().hex})
        assert created.status_code == 201
        self.payment_id = created.json()["id"]
        self.rows.execute(
            "UPDATE payments SET status = %s, provider_charge_id = 'ch_1' WHERE id = %s", [status, self.payment_id]
        )
        return f"/v1/payments/{self.payment_id}"

    def refund(self) -> str:
        path = self.payment("captured")
        created = self.client.post(f"{path}/refunds", json={"amount": 1}, headers={"Idempotency-Key": uuid4().hex})
        assert created.status_code == 201, created.text
        return f"{path}/refunds/{created.json()['id']}"

    def customer(self) -> str:
        path = f"/v1/customers/{self.customer_id}"
        assert self.client.put(path, json={"name": "Ada"}).status_code == 201
        return path

    def cart(self) -> str:
        path = f"/v1/carts/{self.cart_id}"
        assert self.client.put(path, json=CART).status_code == 201
        return path

    def endpoint(self) -> str:
        path = "/v1/webhook-endpoint"
        body = {"url": "https://shop.example/hooks", "secret": SECRET}
        assert self.client.put(path, json=body).status_code in (200, 201)
        return path


@dataclass(frozen=True)
class Case:
    """One operation, how to ask for it, and what three times the same must do."""

    method: str
    template: str
    promise: str
    statuses: tuple[int, int, int]
    ask: Callable[[Made], tuple[str, dict[str, Any]]]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.template} {self.name}".strip()


def keyed(path: str, made: Made, body: Any = None) -> tuple[str, dict[str, Any]]:
    options: dict[str, Any] = {"headers": {"Idempotency-Key": made.key}}
    return path, options if body is None else options | {"json": body}


def with_etag(path: str, made: Made, body: Any) -> tuple[str, dict[str, Any]]:
    etag = made.client.get(path).headers["etag"]
    headers = {"If-Match": etag, "Content-Type": "application/merge-patch+json"}
    return path, {"headers": headers, "content": orjson.dumps(body)}


def not_modified(path: str, made: Made) -> tuple[str, dict[str, Any]]:
    return path, {"headers": {"If-None-Match": f'"other", W/{made.client.get(path).headers["etag"]}'}}


def webhook(made: Made, type_: str = "charge.captured") -> tuple[str, dict[str, Any]]:
    made.payment("charging")
    data = {
        "id": f"ch_{uuid4().hex}",
        "status": type_.partition(".")[2],
        "amount": 1999,
        "currency": "EUR",
        "reference": made.payment_id,
        "decline_code": None,
    }
    body = orjson.dumps({"type": type_, "data": data})
    secret = made.settings.provider_secret.get_secret_value()
    headers = sign(secret, f"evt_{uuid4().hex}", datetime.now(UTC), body)
    return "/webhooks/provider", {"headers": headers | {"content-type": "application/json"}, "content": body}


def checkout(path: str, made: Made, **body: str) -> tuple[str, dict[str, Any]]:
    headers = {"Idempotency-Key": made.key, "If-Match": made.client.get(path).headers["etag"]}
    return f"{path}/checkout", {"headers": headers, "json": {"payment_method": "pm_ok"} | body}


P, R, C = "/v1/payments", "/v1/payments/{payment_id}/refunds", "/v1/customers/{customer_id}"
ONE, E, W = f"{P}/{{payment_id}}", "/v1/webhook-endpoint", "/webhooks/provider"
K = "/v1/carts/{cart_id}"
CART = {"currency": "EUR", "items": [{"name": "A book", "unit_amount": 950, "quantity": 2}]}
CUSTOMER = {"name": "Grace", "email": "grace@example.com", "metadata": {"a": "1"}}

CASES = [
    Case("POST", P, REPLAYED, (201, 201, 201), lambda made: keyed(P, made, PAYMENT)),
    Case("POST", P, REFUSED, (400, 400, 400), lambda made: (P, {"json": PAYMENT}), "without a key"),
    Case("POST", P, REFUSED, (422,) * 3, lambda made: keyed(P, made, PAYMENT | {"customer_id": "nobody"}), "nobody"),
    Case("GET", P, SAFE, (200, 200, 200), lambda made: (f"{P}?limit=3", {})),
    Case("GET", ONE, SAFE, (200, 200, 200), lambda made: (made.payment(), {})),
    Case("GET", ONE, SAFE, (304, 304, 304), lambda made: not_modified(made.payment(), made), "that I have"),
    Case("GET", ONE, REFUSED, (404, 404, 404), lambda made: (f"{P}/{uuid4()}", {}), "that is not there"),
    Case("GET", f"{ONE}/trail", SAFE, (200, 200, 200), lambda made: (f"{made.payment()}/trail", {})),
    Case("GET", f"{ONE}/trail", REFUSED, (404,) * 3, lambda made: (f"{P}/{uuid4()}/trail", {}), "of nothing"),
    Case("PATCH", ONE, CONDITIONAL, (200, 412, 412), lambda m: with_etag(m.payment(), m, {"description": "two"})),
    Case("PATCH", ONE, IDEMPOTENT, (200,) * 3, lambda m: with_etag(m.payment(), m, {}), "that changes nothing"),
    Case("PATCH", ONE, REFUSED, (428,) * 3, lambda made: (made.payment(), {"json": {}}), "without If-Match"),
    Case("POST", f"{ONE}/cancel", REPLAYED, (200,) * 3, lambda made: keyed(f"{made.payment()}/cancel", made)),
    Case("POST", f"{ONE}/cancel", REFUSED, (409,) * 3, lambda m: keyed(f"{m.payment('captured')}/cancel", m), "late"),
    Case("POST", R, REPLAYED, (201,) * 3, lambda m: keyed(f"{m.payment('captured')}/refunds", m, {"amount": 5})),
    Case("POST", R, REPLAYED, (201,) * 3, lambda m: keyed(f"{m.payment('captured')}/refunds", m), "of all"),
    Case("POST", R, REFUSED, (409,) * 3, lambda m: keyed(f"{m.payment('captured')}/refunds", m, {"amount": 9999}), "+"),
    Case("GET", R, SAFE, (200, 200, 200), lambda made: (made.refund().rpartition("/")[0], {})),
    Case("GET", f"{R}/{{refund_id}}", SAFE, (200, 200, 200), lambda made: (made.refund(), {})),
    Case("GET", f"{R}/{{refund_id}}", SAFE, (304,) * 3, lambda made: not_modified(made.refund(), made), "that I have"),
    Case("PUT", C, IDEMPOTENT, (201, 200, 200), lambda made: (f"/v1/customers/{made.customer_id}", {"json": CUSTOMER})),
    Case("PUT", C, IDEMPOTENT, (200, 200, 200), lambda made: (made.customer(), {"json": CUSTOMER}), "over another"),
    Case(
        "PUT",
        C,
        CONDITIONAL,
        (201, 412, 412),
        lambda m: (f"/v1/customers/{m.customer_id}", {"json": CUSTOMER, "headers": {"If-None-Match": "*"}}),
        "only new",
    ),
    Case("GET", C, SAFE, (200, 200, 200), lambda made: (made.customer(), {})),
    Case("GET", C, SAFE, (304, 304, 304), lambda made: not_modified(made.customer(), made), "that I have"),
    Case("PATCH", C, CONDITIONAL, (200, 412, 412), lambda m: with_etag(m.customer(), m, {"name": "Eve"})),
    Case("DELETE", C, IDEMPOTENT, (204, 204, 204), lambda made: (made.customer(), {})),
    Case("DELETE", C, IDEMPOTENT, (204, 204, 204), lambda m: (f"/v1/customers/{m.customer_id}", {}), "of nobody"),
    Case("PUT", K, RENEWED, (201, 200, 200), lambda m: (f"/v1/carts/{m.cart_id}", {"json": CART})),
    Case("PUT", K, REFUSED, (422,) * 3, lambda m: (f"/v1/carts/{m.cart_id}", {"json": CART | {"items": []}}), "empty"),
    Case("GET", K, SAFE, (200, 200, 200), lambda made: (made.cart(), {})),
    Case("GET", K, SAFE, (304, 304, 304), lambda made: not_modified(made.cart(), made), "that I have"),
    Case("GET", K, REFUSED, (404, 404, 404), lambda m: (f"/v1/carts/{m.cart_id}", {}), "that is not there"),
    Case("DELETE", K, IDEMPOTENT, (204, 204, 204), lambda made: (made.cart(), {})),
    Case("POST", f"{K}/checkout", REPLAYED, (201,) * 3, lambda made: checkout(made.cart(), made)),
    Case("POST", f"{K}/checkout", REFUSED, (422,) * 3, lambda m: checkout(m.cart(), m, customer_id="x"), "nobody"),
    Case(
        "POST",
        f"{K}/checkout",
        REFUSED,
        (428,) * 3,
        lambda m: keyed(f"{m.cart()}/checkout", m, {"payment_method": "x"}),
        "unseen",
    ),
    Case(
        "PUT",
        E,
        IDEMPOTENT,
        (200, 200, 200),
        lambda m: (m.endpoint(), {"json": {"url": f"https://{m.key}.example/", "secret": SECRET}}),
    ),
    Case("GET", E, SAFE, (200, 200, 200), lambda made: (made.endpoint(), {})),
    Case("DELETE", E, IDEMPOTENT, (204, 204, 204), lambda made: (made.endpoint(), {})),
    Case("POST", W, IDEMPOTENT, (204, 204, 204), webhook),
    Case("POST", W, IDEMPOTENT, (204,) * 3, lambda made: webhook(made, "charge.declined"), "declined"),
    Case("GET", "/v1/me", SAFE, (200, 200, 200), lambda made: ("/v1/me", {})),
    Case("GET", "/healthz", SAFE, (200, 200, 200), lambda made: ("/healthz", {})),
    Case("GET", "/readyz", SAFE, (200, 200, 200), lambda made: ("/readyz", {})),
    Case("GET", "/openapi.json", SAFE, (200, 200, 200), lambda made: ("/openapi.json", {})),
    Case("GET", "/docs", SAFE, (200, 200, 200), lambda made: ("/docs", {})),
    Case("GET", "/docs/{asset}", SAFE, (200, 200, 200), lambda made: ("/docs/swagger-ui.css", {})),
]
#: Each GET once more as HEAD, and each path with OPTIONS and a method that it does not know.
GETS = {case.template: case for case in CASES if case.method == "GET" and case.statuses[0] == 200}
PATHS = {case.template: case for case in reversed(CASES)}
CASES += [Case("HEAD", case.template, SAFE, case.statuses, case.ask) for case in GETS.values()]
CASES += [Case("OPTIONS", case.template, SAFE, (204, 204, 204), case.ask) for case in PATHS.values()]
CASES += [Case("TRACE", case.template, REFUSED, (405, 405, 405), case.ask) for case in PATHS.values()]

#: Differ from answer to answer and belong to none.
_OWN = {"date", "x-request-id", "idempotent-replayed"}


@pytest.fixture
def made(client: httpx.Client, rows: psycopg.Connection, api_settings: Settings) -> Iterator[Made]:
    return Made(client, rows, api_settings)


def without_version(shown: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], dict[str, Any]]:
    status, headers, body = shown
    document = orjson.loads(body)
    del headers["etag"], document["expires_at"]
    return status, headers, document


def shown(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name not in _OWN}
    body = answer.content
    if answer.headers.get("content-type") == "application/problem+json" and body:
        document = orjson.loads(body)
        assert document.pop("request_id") == answer.headers["x-request-id"]
        body = orjson.dumps(document)
    return answer.status_code, headers, body


def test_every_operation_has_a_case() -> None:
    assert {(operation.method, operation.path) for operation in OPERATIONS} <= {(c.method, c.template) for c in CASES}


def test_the_page_on_retries_says_what_the_cases_show() -> None:
    """docs/http.md has a row for each operation and no other, with the promise that its first case keeps."""
    page = (Path(__file__).parents[3] / "docs" / "http.md").read_text()
    rows = re.findall(r"^\| `([A-Z]+) (/\S*)` \| (\w+) \|", page, re.MULTILINE)
    words = {
        SAFE: "safe",
        IDEMPOTENT: "idempotent",
        REPLAYED: "replayed",
        CONDITIONAL: "conditional",
        RENEWED: "renewed",
    }
    shown: dict[tuple[str, str], str] = {}
    for case in CASES:
        if case.promise is not REFUSED:
            shown.setdefault((case.method, case.template), words[case.promise])
    assert len(rows) == len(OPERATIONS)
    assert {(method, path): word for method, path, word in rows} == {
        (operation.method, operation.path): shown[operation.method, operation.path] for operation in OPERATIONS
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_three_times_the_same_request(case: Case, made: Made, state: Callable[[], dict[str, str]]) -> None:
    path, options = case.ask(made)
    states, answers = [state()], []
    for _ in range(3):
        answers.append(made.client.request(case.method, path, **options))
        states.append(state())

    assert [answer.status_code for answer in answers] == list(case.statuses), answers[0].text
    first, second, third = map(shown, answers)
    if case.promise is RENEWED:
        assert len({answer.headers["etag"] for answer in answers}) == 3, "a version was drawn twice"
        assert without_version(second) == without_version(third)
    else:
        assert second == third, "the second and the third answer differ"
    assert states[1] == states[2] == states[3], "a repetition changed something"
    if case.promise in (SAFE, REFUSED):
        assert states[0] == states[1], "a safe or refused request changed something"
        assert first == second
    if case.promise is REPLAYED:
        assert states[0] != states[1], "the first request did nothing"
        assert first == second, "the replay is not the first answer, byte for byte"
        assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true", "true"]
    if case.promise is CONDITIONAL:
        assert states[0] != states[1]
    if case.statuses[0] >= 400:
        assert answers[0].headers["content-type"] == "application/problem+json"
    if case.method == "HEAD":
        twin = made.client.get(path, **options)
        assert answers[0].content == b""
        assert shown(twin)[1] == first[1], "HEAD has the headers of GET, its length included"
    if case.method in ("OPTIONS", "TRACE"):
        known = {operation.method for operation in OPERATIONS if operation.path == case.template}
        wanted = known | {"OPTIONS"} | ({"HEAD"} if "GET" in known else set())
        assert set(answers[0].headers["allow"].split(", ")) == wanted


def test_put_of_the_endpoint_says_created_once(client: httpx.Client, state: Callable[[], dict[str, str]]) -> None:
    client.delete(E)
    body = {"url": "https://shop.example/hooks", "secret": SECRET, "events": ["payment.captured"]}
    first, before = client.put(E, json=body), state()
    again = client.put(E, json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.content, first.headers["etag"]) == (again.content, again.headers["etag"])
    assert state() == before
    assert SECRET not in first.text + client.get(E).text


@pytest.mark.parametrize(
    "ask",
    [
        lambda path: ("GET", path, {}),
        lambda path: ("PATCH", path, {"json": {}, "headers": {"If-Match": "*"}}),
        lambda path: ("POST", f"{path}/cancel", {"headers": {"Idempotency-Key": "k"}}),
        lambda path: ("POST", f"{path}/refunds", {"headers": {"Idempotency-Key": "k"}}),
        lambda path: ("GET", f"{path}/refunds", {}),
        lambda path: ("GET", f"{path}/refunds/{uuid4()}", {}),
    ],
)
def test_another_tenants_payment_is_not_there(
    ask: Callable[[str], tuple[str, str, dict[str, Any]]],
    made: Made,
    stranger_client: httpx.Client,
    state: Callable[[], dict[str, str]],
) -> None:
    path = made.payment("captured")
    mine = f"{P}/{uuid4()}"
    before = state()
    theirs, nobodys = (stranger_client.request(m, p, **o) for m, p, o in (ask(path), ask(mine)))
    assert theirs.status_code == nobodys.status_code == 404
    assert shown(theirs) == shown(nobodys), "the answer tells another's payment from none"
    assert state() == before


def test_another_tenants_key_and_customer_are_not_there(
    client: httpx.Client, stranger_client: httpx.Client, made: Made
) -> None:
    assert stranger_client.get(made.customer()).status_code == 404
    path, options = keyed(P, made, PAYMENT)
    mine, theirs = client.post(path, **options), stranger_client.post(path, **options)
    assert theirs.status_code == 201
    assert "idempotent-replayed" not in theirs.headers
    assert mine.json()["id"] != theirs.json()["id"]


def test_a_deleted_customer_leaves_nothing_behind(made: Made, rows: psycopg.Connection) -> None:
    assert made.client.delete(made.customer()).status_code == 204
    for table in ("customers", "outbox", "idempotency"):
        found = rows.execute(f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s", [f"%{made.customer_id}%"])
        assert found.fetchone() == (0,), f"{table} still knows the customer"


def test_pages_show_each_payment_once(made: Made, issuer_url: str, stranger_client: httpx.Client) -> None:
    customer = f"c-{uuid4().hex}"
    stranger_client.put(f"/v1/customers/{customer}", json={"name": "Ada"})
    made_ids = [
        stranger_client.post(
            P, json=PAYMENT | {"customer_id": customer}, headers={"Idempotency-Key": uuid4().hex}
        ).json()["id"]
        for _ in range(5)
    ]
    seen, cursor = [], None
    for _ in range(4):
        params = {"customer_id": customer, "limit": 2, "status": "pending"} | ({"cursor": cursor} if cursor else {})
        page = stranger_client.get(P, params=params).json()
        seen += [payment["id"] for payment in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(made_ids, reverse=True)
    assert cursor is None


def test_both_spellings_of_a_key_are_one(made: Made) -> None:
    bare = made.client.post(P, json=PAYMENT, headers={"Idempotency-Key": made.key})
    quoted = made.client.post(P, json=PAYMENT, headers={"Idempotency-Key": f'"{made.key}"'})
    assert quoted.headers["idempotent-replayed"] == "true"
    assert bare.content == quoted.content


def test_a_key_of_another_payments_cancel_is_refused(made: Made, state: Callable[[], dict[str, str]]) -> None:
    first, other = made.payment(), made.payment()
    headers = {"Idempotency-Key": made.key}
    assert made.client.post(f"{first}/cancel", headers=headers).status_code == 200
    before = state()
    refused = made.client.post(f"{other}/cancel", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency-key-reused")
    assert state() == before


def test_a_trace_goes_into_the_event(made: Made, rows: psycopg.Connection) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"Idempotency-Key": made.key, "traceparent": trace, "X-Request-Id": "mine-1"}
    created = made.client.post(P, json=PAYMENT, headers=headers)
    assert created.headers["x-request-id"] == "mine-1"
    found = rows.execute("SELECT headers->>'traceparent' FROM outbox WHERE aggregateid = %s", [created.json()["id"]])
    assert found.fetchone() == (trace,)
