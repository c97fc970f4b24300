"""From pending to the end, whatever comes first and however often: S12 and S16, on a real PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text

from paidonce.app.clock import new_id
from paidonce.app.db import begin, engine
from paidonce.app.errors import NotFoundError
from paidonce.app.messaging.outcomes import Done, Poison
from paidonce.app.payments import charging
from paidonce.app.payments.provider import ProviderCharge, ProviderRefund, provider_key
from paidonce.app.settings import Settings


@pytest.fixture
def bind(settings: Settings) -> Iterator[Engine]:
    made = engine(settings, size=10)
    yield made
    made.dispose()


@pytest.fixture
def payment_id(bind: Engine) -> UUID:
    made = new_id()
    with begin(bind) as tx:
        tx.execute(
            text(
                "INSERT INTO payments (id, tenant, status, amount, currency, payment_method)"
                " VALUES (:id, 'acme', 'pending', 1000, 'EUR', 'pm_ok')"
            ),
            {"id": made},
        )
    return made


def charge(payment_id: UUID, **other: Any) -> ProviderCharge:
    said = {"id": "ch_1", "status": "captured", "amount": 1000, "currency": "EUR", "reference": str(payment_id)}
    return ProviderCharge(**said | other)


def one(tx: Connection, statement: str) -> tuple[Any, ...]:
    return tuple(tx.execute(text(statement)).one())


def events(bind: Engine) -> list[str]:
    with bind.connect() as tx:
        return list(tx.scalars(text("SELECT type FROM outbox ORDER BY position")))


def start(bind: Engine, payment_id: UUID) -> None:
    with begin(bind) as tx:
        assert charging.start_charge(tx, payment_id) == Done()


def refund_of(bind: Engine, payment_id: UUID, amount: int) -> UUID:
    made = new_id()
    with begin(bind) as tx:
        tx.execute(
            text(
                "INSERT INTO refunds (id, payment_id, tenant, status, amount) VALUES (:id, :p, 'acme', 'pending', :a)"
            ),
            {"id": made, "p": payment_id, "a": amount},
        )
        assert charging.start_refund(tx, made) == Done()
    return made


def test_a_charge_is_started_once_under_the_payments_own_key(bind: Engine, payment_id: UUID) -> None:
    start(bind, payment_id)
    start(bind, payment_id)
    with bind.connect() as tx:
        assert one(tx, "SELECT count(*), min(subject), min(kind) FROM effects") == (1, str(payment_id), "charge")
        assert one(tx, "SELECT status FROM payments") == ("charging",)
    assert provider_key("charge", str(payment_id)) == f"charge-{payment_id}"


def test_what_is_not_there_is_poison(bind: Engine) -> None:
    with begin(bind) as tx:
        assert isinstance(charging.start_charge(tx, new_id()), Poison)
        assert isinstance(charging.start_refund(tx, new_id()), Poison)
        with pytest.raises(NotFoundError):
            charging.settle_charge(tx, charge(new_id()))


def test_a_canceled_payment_is_never_charged(bind: Engine, payment_id: UUID) -> None:
    with begin(bind) as tx:
        tx.execute(text("UPDATE payments SET status = 'canceled'"))
    start(bind, payment_id)
    with bind.connect() as tx:
        assert one(tx, "SELECT count(*) FROM effects") == (0,)


def test_reply_webhook_and_look_up_at_once_count_once(bind: Engine, payment_id: UUID) -> None:
    start(bind, payment_id)
    together = Barrier(8)

    def settle(_n: int) -> None:
        together.wait(timeout=10)
        with begin(bind) as tx:
            charging.settle_charge(tx, charge(payment_id))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(settle, range(8)))
    assert events(bind) == ["payment.captured"]
    with bind.connect() as tx:
        assert one(tx, "SELECT status, provider_charge_id, version FROM payments") == ("captured", "ch_1", 3)
        assert one(tx, "SELECT count(*) FROM dead_letters") == (0,)


def test_refunds_settle_once_each_and_end_the_payment(bind: Engine, payment_id: UUID) -> None:
    start(bind, payment_id)
    with begin(bind) as tx:
        charging.settle_charge(tx, charge(payment_id))
    refunds = [refund_of(bind, payment_id, amount) for amount in (400, 600)]
    for refund_id, amount in zip(refunds, (400, 600), strict=True):
        said = ProviderRefund(
            id=f"re_{amount}", status="succeeded", charge="ch_1", amount=amount, reference=str(refund_id)
        )
        for _ in range(2):
            with begin(bind) as tx:
                charging.settle_refund(tx, said)
    assert events(bind) == ["payment.captured", "payment.refunded", "payment.refunded"]
    with bind.connect() as tx:
        assert one(tx, "SELECT status, amount_refunded FROM payments") == ("refunded", 1000)


def test_a_rejected_charge_declines_and_a_rejected_refund_fails(bind: Engine, payment_id: UUID) -> None:
    start(bind, payment_id)
    with begin(bind) as tx:
        charging.reject_charge(tx, payment_id, "card_expired")
        charging.reject_charge(tx, payment_id, "card_expired")
    assert events(bind) == ["payment.declined"]
    with begin(bind) as tx:
        tx.execute(text("UPDATE payments SET status = 'captured', provider_charge_id = 'ch_1'"))
    refund_id = refund_of(bind, payment_id, 1)
    with begin(bind) as tx:
        charging.reject_refund(tx, refund_id, "too_late")
        charging.reject_refund(tx, refund_id, "too_late")
    assert events(bind) == ["payment.declined", "payment.refund_failed"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("declined", {}),
        ("canceled", {}),
        ("charging", {"amount": 999}),
        ("charging", {"currency": "USD"}),
        ("captured", {"id": "ch_2"}),
    ],
)
def test_money_that_no_payment_can_take_is_kept_for_a_person(
    bind: Engine, payment_id: UUID, status: str, said: dict[str, Any]
) -> None:
    with begin(bind) as tx:
        tx.execute(text("UPDATE payments SET status = :status, provider_charge_id = 'ch_0'"), {"status": status})
    for _ in range(2):
        with begin(bind) as tx:
            charging.settle_charge(tx, charge(payment_id, **said))
    assert events(bind) == []
    with bind.connect() as tx:
        assert one(tx, "SELECT status FROM payments") == (status,)
        assert one(tx, "SELECT count(*), min(consumer) FROM dead_letters") == (1, charging.ALARMS)


@pytest.mark.parametrize(
    ("status", "said"),
    [("declined", {}), ("captured", {"status": "declined"}), ("captured", {"amount": 999_999})],
)
def test_a_provider_that_contradicts_itself_is_heard(
    bind: Engine, payment_id: UUID, status: str, said: dict[str, Any]
) -> None:
    with begin(bind) as tx:
        tx.execute(text("UPDATE payments SET status = :status, provider_charge_id = 'ch_1'"), {"status": status})
        charging.settle_charge(tx, charge(payment_id, **said))
    with bind.connect() as tx:
        assert one(tx, "SELECT status FROM payments") == (status,)
        assert one(tx, "SELECT count(*) FROM dead_letters") == (1,)
