"""Charges, ledger and notifications, on a real PostgreSQL; the books balance or are not written."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

import orjson
import pytest
from sqlalchemy import Engine, Table, text
from sqlalchemy.exc import IntegrityError

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.outcomes import Done, Poison
from paidonce.app.payments import ledger
from paidonce.app.payments.events import payment_event
from paidonce.app.payments.ledger import Movement, Total
from paidonce.app.payments.model import Payment, Refund
from paidonce.app.tables import payments, refunds
from paidonce.app.webhooks import endpoints
from paidonce.workers import consumer
from paidonce.workers.consumer import SUBSCRIBERS

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = "whsec_" + "QUJD" * 10


def a_payment(**changed: object) -> Payment:
    values = {"id": new_id(), "tenant": "acme", "amount": 1250, "currency": "EUR", "payment_method": "pm_ok"}
    return Payment(**(values | {"created_at": NOW, "updated_at": NOW} | changed))


def a_message(type_: str, payment: Payment, refund: Refund | None = None) -> Message:
    event = payment_event(type_, payment, NOW, refund)
    return Message(str(event.id), event.type, event.aggregateid, event.payload, {})


def a_refund(payment: Payment, amount: int) -> Refund:
    return Refund(
        id=new_id(), payment_id=payment.id, tenant=payment.tenant, amount=amount, created_at=NOW, updated_at=NOW
    )


@pytest.fixture
def bind(settings) -> Iterator[Engine]:
    made = db.engine(settings)
    yield made
    made.dispose()


def work(bind: Engine, name: str, *messages: Message) -> list:
    with bind.begin() as tx:
        outcomes = SUBSCRIBERS[name].work(tx, messages)
    return list(outcomes.values())


def insert(bind: Engine, table: Table, row: Payment | Refund) -> None:
    with bind.begin() as tx:
        tx.execute(table.insert().values(asdict(row)))


def rows(bind: Engine, statement: str) -> list:
    with bind.connect() as tx:
        return [tuple(row) for row in tx.execute(text(statement))]


def test_the_ledger_books_a_batch_and_sums_to_zero(bind) -> None:
    two = [a_payment(currency=currency, tenant=tenant) for tenant, currency in [("acme", "EUR"), ("globex", "JPY")]]
    events = [a_message("payment.captured", one) for one in two]
    events.append(a_message("payment.refunded", two[0], a_refund(two[0], 250)))
    assert work(bind, "ledger", *events) == [Done()] * 3
    with bind.connect() as tx:
        assert ledger.totals(tx) == [
            Total("acme", "EUR", "merchant_payable", -1000, 2),
            Total("acme", "EUR", "provider_receivable", 1000, 2),
            Total("globex", "JPY", "merchant_payable", -1250, 1),
            Total("globex", "JPY", "provider_receivable", 1250, 1),
        ]
    assert rows(bind, "SELECT sum(amount), count(DISTINCT transaction_id) FROM ledger_entries") == [(0, 3)]
    assert rows(
        bind, "SELECT DISTINCT kind, amount, payment_id FROM ledger_entries WHERE kind = 'refund' AND amount > 0"
    )


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE ledger_entries SET amount = amount + 1 WHERE account = 'merchant_payable'",
        "UPDATE ledger_entries SET currency = 'USD' WHERE account = 'merchant_payable'",
        "INSERT INTO ledger_entries SELECT transaction_id, 'third', tenant, currency, 5, kind, payment_id, created_at"
        " FROM ledger_entries LIMIT 1",
    ],
    ids=["another amount", "another currency", "a third line"],
)
def test_books_that_do_not_balance_are_refused_at_commit(bind, spoil) -> None:
    movement = Movement("capture", "acme", "EUR", 1250, new_id())
    tx = bind.connect()
    ledger.record(tx, [movement])
    tx.execute(text(spoil))
    with pytest.raises(IntegrityError, match="does not sum to zero"):
        tx.commit()
    tx.close()
    assert rows(bind, "SELECT count(*) FROM ledger_entries") == [(0,)]


def test_nothing_to_book_writes_nothing(bind) -> None:
    assert work(bind, "ledger") == []
    assert rows(bind, "SELECT count(*) FROM ledger_entries") == [(0,)]


@pytest.mark.parametrize(
    ("events", "told"),
    [(None, ["payment.captured", "payment.declined"]), (["payment.declined"], ["payment.declined"])],
    ids=["all", "one type"],
)
def test_each_event_that_a_merchant_wants_becomes_one_webhook(bind, events, told) -> None:
    with bind.begin() as tx:
        endpoints.put(tx, "acme", url="https://shop.example/h", secret=SECRET, events=events, private_addresses=False)
    messages = [a_message(type_, a_payment()) for type_ in ("payment.captured", "payment.declined")]
    stranger = a_message("payment.captured", a_payment(tenant="globex"))
    for _ in range(2):
        assert work(bind, "notifications", *messages, stranger) == [Done()] * 3
    made = rows(bind, "SELECT subject, tenant, request FROM effects WHERE kind = 'webhook' ORDER BY subject")
    assert [(subject, tenant) for subject, tenant, _ in made] == [
        (one.message_id, "acme") for one in messages if one.type in told
    ]
    body = orjson.loads(made[0][2])
    assert list(body) == ["type", "timestamp", "data"]
    assert (body["type"], body["timestamp"]) == (told[0], "2026-11-23T12:00:00Z")
    assert body["data"]["payment"]["amount"] == 1250


def test_charges_begins_a_charge_once_and_knows_no_stranger(bind) -> None:
    payment = a_payment()
    insert(bind, payments, payment)
    message = a_message("payment.accepted", payment)
    for _ in range(2):
        assert work(bind, "charges", message) == [Done()]
    assert rows(bind, "SELECT kind, subject FROM effects") == [("charge", str(payment.id))]
    assert rows(bind, "SELECT status FROM payments") == [("charging",)]
    [unknown] = work(bind, "charges", a_message("payment.accepted", a_payment()))
    assert isinstance(unknown, Poison)


def test_charges_begins_a_refund_once(bind) -> None:
    payment = a_payment(status="captured", provider_charge_id="ch_1")
    refund = a_refund(payment, 300)
    insert(bind, payments, payment)
    insert(bind, refunds, refund)
    message = a_message("payment.refund_requested", payment, refund)
    for _ in range(2):
        assert work(bind, "charges", message) == [Done()]
    assert rows(bind, "SELECT kind, subject FROM effects") == [("refund", str(refund.id))]
    assert rows(bind, "SELECT status FROM refunds") == [("refunding",)]


def test_an_unknown_consumer_is_named_with_those_that_exist(settings) -> None:
    with pytest.raises(ConfigurationError, match="'charge': it is one of charges, ledger, notifications"):
        consumer.main(settings, "charge")
