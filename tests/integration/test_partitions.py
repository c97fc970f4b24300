"""Partitions come and go while writers are idle in the middle of their transactions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging import partitions
from paidonce.app.settings import Settings

INSERT = b"""
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)
    VALUES (gen_random_uuid(), 'payment', 'a', 'payment.accepted', 1, '')
"""
TODAY = datetime.now(UTC).date()
FAR = TODAY + timedelta(days=100)


@pytest.fixture
def bind(database: str) -> Iterator[Engine]:
    engine = db.engine(Settings(dsn=database), size=8)
    yield engine
    engine.dispose()


def days(bind: Engine, table: partitions.Partitioned) -> set[date]:
    with bind.connect() as tx:
        return set(partitions.attached(tx, table))


def writer(database: str) -> psycopg.Connection[object]:
    """A connection that fails soon when it is blocked."""
    return psycopg.connect(database, options="-c lock_timeout=3s")


def test_migration_leaves_every_day_that_is_needed(bind: Engine) -> None:
    settings = Settings()
    ahead = {TODAY + timedelta(days=n) for n in range(settings.partitions_ahead_d + 1)}
    assert days(bind, "outbox") >= ahead | {TODAY - timedelta(days=1)}
    assert days(bind, "inbox") >= ahead | {TODAY - timedelta(days=settings.inbox_retention_d)}


def test_a_second_time_makes_nothing(bind: Engine) -> None:
    assert partitions.ensure(bind, FAR, ahead_d=2, behind_d=3) == 4 + 6
    assert partitions.ensure(bind, FAR, ahead_d=2, behind_d=3) == 0


def test_of_many_at_once_each_day_is_made_once(bind: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: partitions.ensure(bind, FAR, ahead_d=2, behind_d=3), range(4)))
    assert sorted(made) == [0, 0, 0, 10] or sum(made) == 10


def test_rows_go_into_the_day_of_their_time(bind: Engine, database: str) -> None:
    with psycopg.connect(database) as tx:
        tx.execute(INSERT)
        assert tx.execute("SELECT DISTINCT tableoid::regclass::text FROM outbox").fetchall() == [
            (partitions.name_of("outbox", TODAY),)
        ]
        first = partitions.uuid_floor(partitions.midnight(TODAY))
        before = partitions.uuid_floor(partitions.midnight(TODAY) - timedelta(milliseconds=1))
        for id_ in (first, before, new_id()):
            tx.execute("INSERT INTO inbox (consumer, message_id) VALUES ('c', %s)", (id_,))
        found = tx.execute("SELECT tableoid::regclass::text, count(*) FROM inbox GROUP BY 1 ORDER BY 1").fetchall()
    yesterday = TODAY - timedelta(days=1)
    assert found == [(partitions.name_of("inbox", yesterday), 1), (partitions.name_of("inbox", TODAY), 2)]


def test_partitions_are_made_and_dropped_past_an_idle_writer(bind: Engine, database: str) -> None:
    old = TODAY - timedelta(days=1)
    with (
        writer(database) as idle,
        psycopg.connect(database, autocommit=True, options="-c lock_timeout=100ms") as session,
    ):
        idle.execute(INSERT)
        assert partitions.ensure(bind, FAR, ahead_d=0, behind_d=0) == 2

        with pytest.raises(psycopg.errors.LockNotAvailable):
            partitions.detach(session, "outbox", old, pending=False)
        with writer(database) as other:
            other.execute(INSERT)
            other.commit()
        idle.execute(INSERT)
        with bind.connect() as tx:
            assert partitions.attached(tx, "outbox")[old] is True, "the detachment is pending"
        assert partitions.ensure(bind, FAR + timedelta(days=1), ahead_d=0, behind_d=0) == 2
        idle.commit()

        partitions.detach(session, "outbox", old, pending=True)
        with bind.connect() as tx:
            assert partitions.loose(tx, "outbox") == [old]
        partitions.drop(session, "outbox", old)
        with bind.connect() as tx:
            assert partitions.loose(tx, "outbox") == []
    assert old not in days(bind, "outbox")


def test_a_drop_blocks_nobody(bind: Engine, database: str) -> None:
    old = TODAY - timedelta(days=1)
    with psycopg.connect(database, autocommit=True, options="-c lock_timeout=2s") as session:
        partitions.detach(session, "outbox", old, pending=False)
        with writer(database) as idle, writer(database) as other:
            idle.execute(INSERT)
            partitions.drop(session, "outbox", old)
            other.execute(INSERT)


def test_quiet_is_when_no_transaction_is_older(bind: Engine, database: str) -> None:
    now = datetime.now(UTC)
    with bind.connect() as tx:
        assert partitions.quiet_since(tx, now - timedelta(hours=1))
    with psycopg.connect(database) as idle:
        idle.execute("SELECT 1")
        with bind.connect() as tx:
            assert not partitions.quiet_since(tx, now + timedelta(hours=1))
