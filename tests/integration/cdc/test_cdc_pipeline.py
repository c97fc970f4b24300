"""From the API's own service to the books, with Debezium in the relay's place and killed in the midst of it."""

import asyncio
import itertools
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from kafka import KafkaConsumer
from sqlalchemy import text

from paidonce.app.clock import SystemClock
from paidonce.app.db import async_engine, begin, hot_pool
from paidonce.app.idempotency.guard import Guard
from paidonce.app.idempotency.store import Claim
from paidonce.app.payments import charging
from paidonce.app.payments.accepting import Accepting
from paidonce.app.payments.provider import ProviderCharge
from paidonce.app.payments.service import PaymentDraft, Payments
from paidonce.app.settings import Settings
from paidonce.app.unbroken import Unbroken

pytestmark = pytest.mark.cdc

PAYMENTS = 300
#: More than Debezium's batch (2,048) several times over, so that a kill finds a drain under way.
BACKLOG = 40_000
KEYS = 50
KILLS = 3

#: Captures as the ledger books them, in the order of `sequence` for each key.
CAPTURES = """
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)
    SELECT uuidv7(), 'payment', 'key-' || n % :keys, 'payment.captured', n, convert_to(json_build_object(
               'tenant', 'acme', 'data', json_build_object('payment', json_build_object(
                   'id', gen_random_uuid(), 'amount', 100, 'currency', 'EUR')))::text, 'UTF8')
      FROM generate_series(CAST(:first AS int), :last) AS n
"""


async def accept(settings: Settings, count: int) -> None:
    pool = hot_pool(settings, lock_timeout_ms=settings.idempotency_first_wait_ms)
    engine = async_engine(settings, size=settings.api_connections_max)
    await pool.open()
    unbroken = Unbroken()
    guard = Guard(pool, engine, unbroken, settings)
    payments = Payments(guard, Accepting(pool, unbroken, settings), SystemClock(), settings)
    draft = PaymentDraft(amount=1250, currency="EUR", payment_method="pm_ok")
    try:
        for number in range(count):
            claim = Claim("acme", "POST /v1/payments", f"key-{number}", "a" * 64, timedelta(hours=72))
            await payments.create(claim, draft, {"traceparent": "00-1"})
    finally:
        await unbroken.settled()
        await pool.close()
        await engine.dispose()


def capture(rig: Any, payment_id: UUID) -> None:
    """What the effects worker does with the provider's answer."""
    with begin(rig.bind) as tx:
        charging.settle_charge(
            tx,
            ProviderCharge(
                id=f"ch_{payment_id}", status="captured", amount=1250, currency="EUR", reference=str(payment_id)
            ),
        )


def published(reader: KafkaConsumer) -> int:
    """How many records the topic has; quick, because nobody reads them."""
    return sum(reader.end_offsets(list(reader.assignment())).values())


def test_the_whole_path_counts_once_though_debezium_is_killed(rig: Any, told: Any) -> None:
    rig.prepare()
    rig.ours("consumer", "charges")
    rig.ours("consumer", "ledger")
    rig.start()
    asyncio.run(accept(rig.settings, PAYMENTS))
    charging_ = "SELECT count(*) FROM payments WHERE status = 'charging'"
    rig.wait(lambda: rig.scalar(charging_) > 0, "the first charges")
    rig.kill()
    rig.start()
    rig.wait(lambda: rig.scalar(charging_) == PAYMENTS, "every payment to be charged")
    assert rig.scalar("SELECT count(*) FROM effects WHERE kind = 'charge'") == PAYMENTS

    for payment_id in rig.column("SELECT id FROM payments"):
        capture(rig, payment_id)
    rig.kill()
    rig.start()
    rig.wait(lambda: rig.scalar("SELECT count(*) FROM ledger_entries") == 2 * PAYMENTS, "the books")
    rig.stop()
    booked = "SELECT count(DISTINCT payment_id), sum(amount), count(*) FROM ledger_entries"
    assert rig.row(booked) == (PAYMENTS, 0, 2 * PAYMENTS)
    assert rig.scalar("SELECT count(*) FROM dead_letters") == 0
    events = rig.ids()
    assert len(set(events)) == 2 * PAYMENTS
    told(f"{len(events) - len(set(events))} of {len(set(events))} events came twice after 2 kills")


def test_a_drain_that_is_killed_loses_nothing_and_replays_in_order(rig: Any, told: Any) -> None:
    """Killed again and again with `-9`: what it repeats it repeats from one point on, in order per key."""
    rig.prepare()
    with begin(rig.bind) as tx:
        for first in range(0, BACKLOG, 5_000):
            tx.execute(text(CAPTURES), {"keys": KEYS, "first": first, "last": first + 4_999})
    rig.ours("consumer", "ledger")
    rig.start()
    reader = rig.reader()
    for kill in range(1, KILLS + 1):
        enough = BACKLOG * kill // (KILLS + 1)
        rig.wait(lambda enough=enough: published(reader) > enough, "a part of the drain")
        rig.kill()
        rig.start()
    reader.close()
    rig.wait(lambda: rig.scalar("SELECT count(*) FROM ledger_entries") == 2 * BACKLOG, "the whole backlog in the books")
    rig.stop()

    records = rig.records()
    seen = Counter(dict(record.headers)["message-id"].decode() for record in records)
    assert set(seen) == {str(one) for one in rig.column("SELECT id FROM outbox")}
    keys: dict[bytes, list[int]] = defaultdict(list)
    for record in records:
        keys[record.key].append(int(dict(record.headers)["ce_sequence"]))
    for sequences in keys.values():
        breaks = [(one, after) for one, after in itertools.pairwise(sequences) if after != one + KEYS]
        assert all(after <= one for one, after in breaks), "it goes back, and never skips"
        assert len(breaks) <= KILLS
    booked = "SELECT count(DISTINCT payment_id), sum(amount), count(*) FROM ledger_entries"
    assert rig.row(booked) == (BACKLOG, 0, 2 * BACKLOG)
    assert rig.row("SELECT count(*) FROM inbox") == (BACKLOG,)
    told(f"{len(records) - len(seen)} of {len(seen)} events came twice after {KILLS} kills in a drain")
