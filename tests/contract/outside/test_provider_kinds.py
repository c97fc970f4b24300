"""The kinds `charge` and `refund`: from an effect's bytes over real HTTP to the payment on a real PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging.answers import NoAnswer, NotFound, Refused, Rejected, Succeeded
from paidonce.app.messaging.effect_kinds import Effect, Kind
from paidonce.app.payments.effect_kinds import ChargeKind, RefundKind
from paidonce.app.payments.model import Payment, Refund
from paidonce.app.payments.provider import charge_request, refund_request
from paidonce.app.payments.provider_http import HttpProvider
from paidonce.app.settings import Settings

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def simulator(start_simulator):
    return start_simulator()


@pytest.fixture
async def provider(simulator) -> AsyncIterator[HttpProvider]:
    async with HttpProvider(Settings(provider_url=simulator.url, provider_settles_within_s=None)) as provider:
        yield provider


@pytest.fixture
async def bind(database: str) -> AsyncIterator[AsyncEngine]:
    engine = db.async_engine(Settings(dsn=database), size=1)
    yield engine
    await engine.dispose()


def execute(database: str, statement: str, *values) -> list[tuple]:
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def charging_payment(database: str, method: str) -> Payment:
    one = Payment(
        id=new_id(), tenant="acme", amount=700, currency="EUR", payment_method=method, created_at=NOW, updated_at=NOW
    )
    execute(
        database,
        "INSERT INTO payments (id, tenant, status, amount, currency, payment_method)"
        " VALUES (%s, 'acme', 'charging', 700, 'EUR', %s)",
        one.id,
        method,
    )
    return one


def refunding(database: str, payment: Payment, amount: int = 300) -> Refund:
    one = Refund(id=new_id(), payment_id=payment.id, tenant="acme", amount=amount, created_at=NOW, updated_at=NOW)
    execute(
        database,
        "INSERT INTO refunds (id, payment_id, tenant, status, amount) VALUES (%s, %s, 'acme', 'refunding', %s)",
        one.id,
        payment.id,
        amount,
    )
    return one


def effect(kind: str, subject: UUID, request: bytes) -> Effect:
    return Effect(
        id=new_id(),
        kind=kind,
        subject=str(subject),
        tenant="acme",
        request=request,
        attempts=1,
        open_attempt=False,
        first_sent_at=NOW,
        sent_until=None,
        claim_token=new_id(),
        claimed_at=NOW,
        lease_until=NOW + timedelta(seconds=30),
        created_at=NOW,
    )


async def settle(bind: AsyncEngine, kind: Kind, one: Effect, answer) -> None:
    async with db.begin_async(bind) as tx:
        await tx.run_sync(kind.settle, one, answer)


def test_they_are_kinds_of_one_circuit_that_never_repeat(provider) -> None:
    kinds: list[Kind] = [ChargeKind(provider, call_s=10), RefundKind(provider, call_s=10)]
    assert [kind.name for kind in kinds] == ["charge", "refund"]
    assert {kind.circuit for kind in kinds} == {"provider"}
    for kind in kinds:
        assert (kind.call_s, kind.repeats_for) == (10, None)
        assert (kind.honours_keys_for, kind.settles_within) == (timedelta(days=1), None)


async def test_charges_and_refunds_end_as_the_provider_says(provider, bind, database, simulator) -> None:
    charges, refunds = ChargeKind(provider, call_s=10), RefundKind(provider, call_s=10)
    ends = {
        "pm_ok": (Succeeded, "captured", None),
        "pm_declined": (Refused, "declined", "insufficient_funds"),
        "pm_rejected": (Rejected, "declined", "payment_method_rejected"),
    }
    for method, (type_, status, code) in ends.items():
        payment = charging_payment(database, method)
        one = effect("charge", payment.id, charge_request(payment))
        assert await charges.look_up(one) == NotFound()
        answer = await charges.call(one)
        assert isinstance(answer, type_)
        for _ in range(2):
            await settle(bind, charges, one, answer)
        found = execute(database, "SELECT status, decline_code FROM payments WHERE id = %s", payment.id)
        assert found == [(status, code)]
        assert await charges.look_up(one) == (NotFound() if type_ is Rejected else answer)
    ends = {"pm_ok": (Succeeded, "succeeded"), "pm_refund_fails": (Refused, "failed"), "": (Rejected, "failed")}
    for method, (type_, status) in ends.items():
        payment = charging_payment(database, method or "pm_ok")
        charged = await charges.call(effect("charge", payment.id, charge_request(payment)))
        await settle(bind, charges, effect("charge", payment.id, b""), charged)
        refund = refunding(database, payment)
        one = effect("refund", refund.id, refund_request(refund, charged.body["id"] if method else "ch_none"))
        answer = await refunds.call(one)
        assert isinstance(answer, type_)
        for _ in range(2):
            await settle(bind, refunds, one, answer)
        assert execute(database, "SELECT status FROM refunds WHERE id = %s", refund.id) == [(status,)]
        assert await refunds.look_up(one) == (NotFound() if type_ is Rejected else answer)


async def test_a_lost_answer_is_settled_by_the_same_call_again_or_by_look_up(
    provider, bind, database, simulator
) -> None:
    charges = ChargeKind(provider, call_s=10)
    for again in (charges.call, charges.look_up):
        payment = charging_payment(database, "pm_reset_after")
        one = effect("charge", payment.id, charge_request(payment))
        assert isinstance(await charges.call(one), NoAnswer)
        await settle(bind, charges, one, await again(one))
        assert execute(database, "SELECT status FROM payments WHERE id = %s", payment.id) == [("captured",)]
        assert simulator.rows("SELECT count(*) FROM charges WHERE reference = ?", str(payment.id)) == [(1,)]
    keys = simulator.rows("SELECT DISTINCT idem_key FROM calls WHERE method = 'POST' AND reference = ?", one.subject)
    assert keys == [(f"charge-{one.subject}",)]
