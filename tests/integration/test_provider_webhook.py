"""The provider's webhook on a real PostgreSQL: the same as its reply, once for each webhook-id (S16)."""

import threading
from collections.abc import Iterator
from uuid import UUID

import orjson
import psycopg
import pytest
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.errors import BadRequestError
from paidonce.app.payments import charging, provider_webhook
from paidonce.app.payments.provider import ProviderCharge
from paidonce.app.settings import Settings


@pytest.fixture
def bind(database: str) -> Iterator[Engine]:
    engine = db.engine(Settings(dsn=database), size=8)
    yield engine
    engine.dispose()


def rows(database: str, query: str, *values) -> list[tuple]:
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def charging_payment(database: str) -> UUID:
    one = new_id()
    rows(
        database,
        "INSERT INTO payments (id, tenant, status, amount, currency, payment_method)"
        " VALUES (%s, 'acme', 'charging', 500, 'EUR', 'pm_ok')",
        one,
    )
    return one


@pytest.fixture
def refunding(database: str) -> tuple[UUID, UUID]:
    payment, refund = new_id(), new_id()
    rows(
        database,
        "INSERT INTO payments (id, tenant, status, amount, currency, payment_method, provider_charge_id)"
        " VALUES (%s, 'acme', 'captured', 500, 'EUR', 'pm_ok', 'ch_1')",
        payment,
    )
    rows(
        database,
        "INSERT INTO refunds (id, payment_id, tenant, status, amount) VALUES (%s, %s, 'acme', 'refunding', 200)",
        refund,
        payment,
    )
    return payment, refund


def charge(reference: object, **changes) -> dict:
    made = {"id": "ch_1", "status": "captured", "amount": 500, "currency": "EUR", "reference": str(reference)}
    return made | {"decline_code": None} | changes


def body(type_: str, data: object) -> bytes:
    return orjson.dumps({"type": type_, "timestamp": "2026-01-01T00:00:00Z", "data": data})


def handle(bind: Engine, webhook_id: str, content: bytes) -> None:
    with db.begin(bind) as tx:
        provider_webhook.handle(tx, webhook_id, content)


def events(database: str) -> list[str]:
    return [row[0] for row in rows(database, "SELECT type FROM outbox ORDER BY position")]


def test_a_capture_captures_once_for_its_id(bind, database, charging_payment) -> None:
    content = body("charge.captured", charge(charging_payment))
    for _ in range(3):
        handle(bind, "msg_1", content)
    assert rows(database, "SELECT status, provider_charge_id FROM payments") == [("captured", "ch_1")]
    assert events(database) == ["payment.captured"]


def test_a_second_id_for_the_same_charge_changes_nothing(bind, database, charging_payment) -> None:
    with db.begin(bind) as tx:
        charging.settle_charge(tx, ProviderCharge.model_validate(charge(charging_payment)))
    handle(bind, "msg_1", body("charge.captured", charge(charging_payment)))
    handle(bind, "msg_2", body("charge.captured", charge(charging_payment)))
    assert events(database) == ["payment.captured"]
    assert rows(database, "SELECT count(*) FROM dead_letters") == [(0,)]


def test_an_id_that_was_seen_is_not_even_read(bind, database, charging_payment) -> None:
    """By the id alone: what it says of the payment's state would have alarmed."""
    handle(bind, "msg_1", body("charge.captured", charge(charging_payment)))
    handle(bind, "msg_1", body("charge.captured", charge(charging_payment, id="ch_2")))
    assert rows(database, "SELECT count(*) FROM dead_letters") == [(0,)]
    handle(bind, "msg_2", body("charge.captured", charge(charging_payment, id="ch_2")))
    assert rows(database, "SELECT consumer, message_id FROM dead_letters") == [("provider-alarms", "ch_2")]


def test_twenty_at_once_under_one_id_are_one(bind, database, charging_payment) -> None:
    content = body("charge.captured", charge(charging_payment))
    threads = [threading.Thread(target=handle, args=(bind, "msg_1", content)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert events(database) == ["payment.captured"]
    assert rows(database, "SELECT count(*) FROM inbox_foreign WHERE consumer = 'provider-webhook'") == [(1,)]


def test_a_decline_declines(bind, database, charging_payment) -> None:
    declined = charge(charging_payment, status="declined", decline_code="lost_card")
    handle(bind, "msg_1", body("charge.declined", declined))
    assert rows(database, "SELECT status, decline_code FROM payments") == [("declined", "lost_card")]


@pytest.mark.parametrize(
    ("status", "event", "refunded"), [("succeeded", "payment.refunded", 200), ("failed", "payment.refund_failed", 0)]
)
def test_a_refund(bind, database, refunding, status, event, refunded) -> None:
    said = {"id": "re_1", "status": status, "charge": "ch_1", "amount": 200, "reference": str(refunding[1])}
    for _ in range(2):
        handle(bind, "msg_1", body(f"refund.{status}", said | {"failure_code": None}))
    assert rows(database, "SELECT status FROM refunds") == [(status,)]
    assert rows(database, "SELECT amount_refunded FROM payments") == [(refunded,)]
    assert events(database) == [event]


def test_what_is_nothing_of_ours_is_kept_for_the_operator_once(bind, database) -> None:
    for number, reference in enumerate([str(new_id()), "somebody-else's", ""]):
        content = body("charge.captured", charge(reference))
        for _ in range(2):
            handle(bind, f"msg_{number}", content)
        assert rows(
            database, "SELECT consumer, key, value FROM dead_letters WHERE message_id = %s", f"msg_{number}"
        ) == [("provider-webhook", reference, content)]


MALFORMED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b"[" * 100_000,
    body("charge.captured", None),
    body("charge.captured", {}),
    body("charge.captured", charge("x", status="declined")),
    body("charge.declined", charge("x")),
    body("charge.captured", charge("x", amount=5.5)),
    body("charge.captured", charge("x", amount="500")),
    body("refund.succeeded", charge("x")),
    orjson.dumps({"data": charge("x")}),
]


def test_a_malformed_body_is_refused_and_claims_nothing(bind, database) -> None:
    for content in MALFORMED:
        with pytest.raises(BadRequestError):
            handle(bind, "msg_1", content)
    assert rows(database, "SELECT count(*) FROM inbox_foreign") == [(0,)]


def test_an_event_that_is_none_of_our_business_is_passed_over(bind, database, charging_payment) -> None:
    handle(bind, "msg_1", body("charge.disputed", charge(charging_payment)))
    assert rows(database, "SELECT status FROM payments") == [("charging",)]


def test_what_rolls_back_can_come_again(bind, database, charging_payment) -> None:
    content = body("charge.captured", charge(charging_payment))
    with bind.connect() as tx:
        provider_webhook.handle(tx, "msg_1", content)
        tx.rollback()
    handle(bind, "msg_1", content)
    assert events(database) == ["payment.captured"]


def test_an_id_like_our_own_is_deduplicated_too(bind, database, charging_payment) -> None:
    content, webhook_id = body("charge.captured", charge(charging_payment)), str(new_id())
    for _ in range(2):
        handle(bind, webhook_id, content)
    assert events(database) == ["payment.captured"]
