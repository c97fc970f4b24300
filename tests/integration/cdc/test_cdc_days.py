"""A day begins, a day is dropped: Debezium reads the log, not the table, and sees one table whatever its partitions."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from paidonce.app.messaging import partitions

pytestmark = pytest.mark.cdc

#: Into the partition of that day; our own writers leave `created_at` to the database.
ON_DAY = """
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, created_at)
    VALUES (uuidv7(), 'payment', 'k', 'payment.captured', 1, '{}', :moment) RETURNING id
"""


def on_day(rig: Any, day: Any) -> str:
    with rig.bind.begin() as tx:
        return str(tx.scalar(text(ON_DAY), {"moment": partitions.midnight(day) + timedelta(hours=1)}))


def drop(rig: Any, day: Any) -> None:
    """As the cleaner does."""
    with psycopg.connect(rig.dsn, autocommit=True, options="-c lock_timeout=5000") as session:
        partitions.detach(session, "outbox", day, pending=False)
        partitions.drop(session, "outbox", day)


def test_days_come_and_go_and_no_event_is_lost(rig: Any) -> None:
    with rig.bind.connect() as tx:
        days = sorted(partitions.attached(tx, "outbox"))
    yesterday, today, tomorrow, last = days[0], days[1], days[2], days[-1]
    rig.prepare()
    unread = on_day(rig, yesterday)
    drop(rig, yesterday)
    rig.start()
    written = [unread, on_day(rig, today), on_day(rig, tomorrow)]
    rig.arrived(written)

    made = last + timedelta(days=1)
    assert partitions.ensure(rig.bind, today, ahead_d=(made - today).days, behind_d=0) > 0
    written.append(on_day(rig, made))
    drop(rig, tomorrow)
    written += rig.append("k")
    rig.arrived(written)
    rig.stop()
    assert rig.ids() == written, "each once, in the order of their commits"


def test_the_cleaner_drops_a_day_only_after_debezium_has_read_it(rig: Any) -> None:
    """No relay records windows here: the slot says what was published."""
    with rig.bind.connect() as tx:
        today = partitions.now(tx).date()
    old = today - timedelta(days=4)
    partitions.ensure(rig.bind, old, ahead_d=0, behind_d=0)
    rig.prepare()
    written = on_day(rig, old)
    cleaner = rig.ours("cleaner", cdc_slot=rig.slot, outbox_retention_d=2)
    rig.wait(lambda: '"why":"cdc"' in cleaner.log.read_text(), "the cleaner to keep the day back")
    rig.start(debezium_source_heartbeat_interval_ms="500")
    rig.arrived([written])

    def dropped() -> bool:
        with rig.bind.begin() as tx:
            # What the server does by itself every 15 s: only then can the slot's catalog_xmin move on.
            tx.execute(text("SELECT pg_log_standby_snapshot()"))
            return old not in {*partitions.attached(tx, "outbox"), *partitions.loose(tx, "outbox")}

    rig.wait(dropped, "the day to be dropped")
