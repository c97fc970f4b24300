"""Is a cart's version paid once, whatever is retried, by whom, and whatever Valkey forgets or brings back?"""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from valkey import Valkey as Direct

from paidonce.app.main import config
from paidonce.app.settings import Settings
from paidonce.devstack.runs import Run
from paidonce.devstack.valkey import Valkey, start_valkey

CART = {
    "currency": "EUR",
    "items": [
        {"name": "A book", "sku": "978-0", "unit_amount": 950, "quantity": 2},
        {"name": "A pen", "unit_amount": 99, "quantity": 1},
    ],
}
PAY = {"payment_method": "pm_ok"}
#: Few failures and a short pause, so that a test sees the breaker open and close.
QUICK = {"valkey_call_s": 0.2, "breaker_failures": 2, "breaker_open_s": 0.5}
#: Seconds that a client of these tests waits for an answer; far beyond what any takes.
ANSWER_S = 20.0


@dataclass
class Shop:
    """One cart of the tenant acme, and what it has in PostgreSQL and Valkey."""

    client: httpx.Client
    rows: psycopg.Connection
    valkey: Direct
    path: str

    @property
    def key(self) -> str:
        return f"paidonce:cart:4:acme:{self.path.rpartition('/')[2]}"

    def put(self, **changes: Any) -> str:
        answer = self.client.put(self.path, json=CART | changes)
        assert answer.is_success, answer.text
        return answer.headers["etag"]

    def pay(
        self, etag: str, *, key: str | None = None, client: httpx.Client | None = None, **body: Any
    ) -> httpx.Response:
        headers = {"If-Match": etag, "Idempotency-Key": key or uuid4().hex}
        return (client or self.client).post(f"{self.path}/checkout", json=PAY | body, headers=headers)

    def payments(self) -> list[tuple[Any, ...]]:
        cart_id = self.path.rpartition("/")[2]
        return self.rows.execute(
            "SELECT p.id::text, p.amount, p.currency, p.status"
            "  FROM payments p JOIN cart_checkouts c ON c.payment_id = p.id WHERE c.cart_id = %s",
            [cart_id],
        ).fetchall()

    def all_payments(self) -> int:
        found = self.rows.execute("SELECT count(*) FROM payments WHERE tenant = 'acme'").fetchone()
        assert found
        return int(found[0])


@pytest.fixture
def shop(client: httpx.Client, rows: psycopg.Connection, valkey: Valkey) -> Iterator[Shop]:
    with Direct.from_url(valkey.url) as direct:
        yield Shop(client, rows, direct, f"/v1/carts/{uuid4().hex}")


def test_the_server_counts_what_a_cart_costs(shop: Shop) -> None:
    etag = shop.put()
    cart = shop.client.get(shop.path)
    assert cart.headers["etag"] == etag
    assert cart.json()["amount"] == 1999
    assert [item["amount"] for item in cart.json()["items"]] == [1900, 99]
    paid = shop.pay(etag, reference="order-1")
    assert paid.status_code == 201
    assert paid.headers["location"] == f"/v1/payments/{paid.json()['id']}"
    assert (paid.json()["amount"], paid.json()["currency"], paid.json()["reference"]) == (1999, "EUR", "order-1")
    assert shop.client.get(paid.headers["location"]).json() == paid.json()
    assert shop.payments() == [(paid.json()["id"], 1999, "EUR", "pending")]
    assert shop.client.get(shop.path).status_code == 404, "a cart that is paid is gone"
    events = shop.rows.execute("SELECT type FROM outbox WHERE aggregateid = %s", [paid.json()["id"]]).fetchall()
    assert events == [("payment.accepted",)]


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 1},
        {"currency": "EURO"},
        {"items": []},
        {"items": [{"name": "x", "unit_amount": 0, "quantity": 1}]},
        {"items": [{"name": "x", "unit_amount": 1.5, "quantity": 1}]},
        {"items": [{"name": "x", "unit_amount": -1, "quantity": 1}]},
        {"items": [{"name": "x", "unit_amount": 1, "quantity": 0}]},
        {"items": [{"name": "x", "unit_amount": 1, "quantity": "1"}]},
        {"items": [{"name": "x", "unit_amount": 99_999_999_999, "quantity": 2}]},
        {"items": [{"name": "x", "unit_amount": 1, "quantity": 1, "amount": 1}]},
    ],
    ids=str,
)
def test_a_cart_that_cannot_be_paid_is_refused(shop: Shop, changes: dict[str, Any]) -> None:
    answer = shop.client.put(shop.path, json=CART | changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "unprocessable")
    assert shop.valkey.get(shop.key) is None


def test_a_client_does_not_say_what_a_checkout_costs(shop: Shop) -> None:
    assert shop.pay(shop.put(), amount=1).status_code == 422
    assert shop.payments() == []


def test_every_write_draws_another_version_and_conditions_hold(shop: Shop) -> None:
    first = shop.put()
    second = shop.put()
    assert first != second
    put = lambda headers: shop.client.put(shop.path, json=CART, headers=headers)  # noqa: E731
    assert put({"If-Match": first}).status_code == 412
    assert put({"If-None-Match": "*"}).status_code == 412
    third = put({"If-Match": second})
    assert third.status_code == 200
    assert shop.client.delete(shop.path, headers={"If-Match": second}).status_code == 412
    assert shop.client.delete(shop.path, headers={"If-Match": third.headers["etag"]}).status_code == 204
    assert shop.client.delete(shop.path).status_code == 204
    assert put({"If-Match": "*"}).status_code == 412
    assert put({"If-None-Match": "*"}).status_code == 201


def test_a_cart_expires(shop: Shop, api_settings: Settings) -> None:
    shop.put()
    kept_s = api_settings.cart_ttl_h * 3_600
    assert kept_s - 60 < shop.valkey.ttl(shop.key) <= kept_s


def test_of_parallel_conditional_writes_one_wins(shop: Shop) -> None:
    etag = shop.put()
    with ThreadPoolExecutor(8) as tabs:
        answers = list(tabs.map(lambda _: shop.client.put(shop.path, json=CART, headers={"If-Match": etag}), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 7]


def test_another_tenant_has_carts_of_its_own(shop: Shop, stranger_client: httpx.Client) -> None:
    etag = shop.put()
    assert stranger_client.get(shop.path).status_code == 404
    assert shop.pay(etag, client=stranger_client).status_code == 404
    assert stranger_client.put(shop.path, json=CART, headers={"If-None-Match": "*"}).status_code == 201
    assert shop.client.get(shop.path).headers["etag"] == etag


def test_another_version_than_the_one_seen_is_not_paid(shop: Shop) -> None:
    seen = shop.put()
    shop.put(items=[{"name": "A car", "unit_amount": 1_000_000, "quantity": 1}])
    answer = shop.pay(seen)
    assert (answer.status_code, answer.json()["code"]) == (412, "precondition-failed")
    assert shop.pay("*").status_code == 400
    assert shop.pay(f'{seen}, "other"').status_code == 400
    assert shop.payments() == []


def test_the_same_key_for_another_version_is_refused(shop: Shop) -> None:
    key = uuid4().hex
    assert shop.pay(shop.put(), key=key).status_code == 201
    again = shop.pay(shop.put(), key=key)
    assert (again.status_code, again.json()["code"]) == (409, "idempotency-key-reused")
    assert len(shop.payments()) == 1


def test_the_same_request_again_gets_the_same_bytes(shop: Shop) -> None:
    etag, key = shop.put(), uuid4().hex
    first, second = shop.pay(etag, key=key), shop.pay(etag, key=key)
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert second.headers["idempotent-replayed"] == "true"


def test_two_tabs_pay_once(shop: Shop) -> None:
    etag, before = shop.put(), shop.all_payments()
    with ThreadPoolExecutor(8) as tabs:
        answers = list(tabs.map(lambda _: _insisted(shop, etag), range(8)))
    assert sorted(answer.status_code for answer in answers) == [*[200] * 7, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1, "two tabs, two payments"
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert shop.all_payments() == before + 1
    assert len(shop.payments()) == 1


def _insisted(shop: Shop, etag: str) -> httpx.Response:
    """Pay as a tab does: again under its own key while the other tab's request still runs."""
    key = uuid4().hex
    while (answer := shop.pay(etag, key=key)).status_code == 409:
        assert answer.json()["code"] == "request-in-progress"
    return answer


def test_a_second_tab_that_asks_for_something_else_is_told_of_the_payment(shop: Shop) -> None:
    etag = shop.put()
    first = shop.pay(etag)
    other = shop.pay(etag, payment_method="pm_slow")
    assert (other.status_code, other.json()["code"]) == (409, "cart-paid")
    assert other.headers["location"] == first.headers["location"]
    assert len(shop.payments()) == 1


def test_a_cart_that_valkey_brings_back_is_not_paid_again(shop: Shop) -> None:
    etag = shop.put()
    kept = shop.valkey.get(shop.key)
    first = shop.pay(etag)
    assert first.status_code == 201
    shop.valkey.set(shop.key, kept, px=60_000)  # a crash before its removal, or an old snapshot
    back = shop.client.get(shop.path)
    assert (back.status_code, back.headers["etag"]) == (200, etag)
    again = shop.pay(etag)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert len(shop.payments()) == 1
    assert shop.client.get(shop.path).status_code == 404, "and is gone again"


def test_an_unknown_customer_leaves_the_cart_to_be_paid(shop: Shop) -> None:
    etag = shop.put()
    refused = shop.pay(etag, customer_id="nobody")
    assert (refused.status_code, refused.json()["code"]) == (422, "customer-unknown")
    customer = f"c-{uuid4().hex}"
    shop.client.put(f"/v1/customers/{customer}", json={"name": "Ada"})
    paid = shop.pay(etag, customer_id=customer)
    assert (paid.status_code, paid.json()["customer_id"]) == (201, customer)


# --- Valkey goes away

Serving = Callable[[uvicorn.Config], AbstractContextManager[str]]


@pytest.fixture
def own_valkey(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    started = start_valkey(run, name=f"valkey-{uuid4().hex[:8]}")
    yield started
    assert started.process
    started.process.stop()


@pytest.fixture
def away(
    own_valkey: Valkey, api_settings: Settings, serving: Serving, token: Callable[..., str], rows: psycopg.Connection
) -> Iterator[Shop]:
    """A shop whose Valkey the test may end."""
    settings = api_settings.model_copy(update={"valkey": own_valkey.url} | QUICK)
    headers = {"Authorization": f"Bearer {token('acme')}"}
    with (
        serving(config(settings)) as url,
        httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=ANSWER_S) as client,
        Direct.from_url(own_valkey.url) as direct,
    ):
        yield Shop(client, rows, direct, f"/v1/carts/{uuid4().hex}")


@pytest.mark.parametrize("how", ["gone", "stalled"])
def test_without_valkey_carts_say_so_and_payments_go_on(away: Shop, own_valkey: Valkey, how: str) -> None:
    assert own_valkey.process
    paid_etag, key = away.put(), uuid4().hex
    paid = away.pay(paid_etag, key=key)
    assert paid.status_code == 201
    etag = away.put()
    own_valkey.process.send(signal.SIGSTOP if how == "stalled" else signal.SIGKILL)
    try:
        for answer in (
            away.client.get(away.path),
            away.client.put(away.path, json=CART),
            away.client.delete(away.path),
            away.pay(etag),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "carts-unavailable")
            assert int(answer.headers["retry-after"]) > 0
        body = {"amount": 5, "currency": "EUR", "payment_method": "pm_ok"}
        for _ in range(10):
            made = away.client.post("/v1/payments", json=body, headers={"Idempotency-Key": uuid4().hex})
            assert made.status_code == 201
        replayed, told = away.pay(paid_etag, key=key), away.pay(paid_etag)
        assert (replayed.status_code, replayed.content) == (201, paid.content), "what was paid is in PostgreSQL"
        assert (told.status_code, told.json()["id"]) == (200, paid.json()["id"])
    finally:
        own_valkey.process.send(signal.SIGCONT)
