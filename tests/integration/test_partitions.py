"""Partitions come and go while writers are idle in the middle of their transactions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit
from uuid import uuid4

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


def test_a_partition_that_was_detached_comes_back_with_its_rows(bind: Engine, database: str) -> None:
    """A clock that was ahead is set right: the day is today's again."""
    with psycopg.connect(database, autocommit=True, options="-c lock_timeout=2s") as session:
        session.execute(INSERT)
        partitions.detach(session, "outbox", TODAY, pending=False)
        with pytest.raises(psycopg.errors.CheckViolation):
            session.execute(INSERT)
        assert partitions.ensure(bind, TODAY, ahead_d=0, behind_d=0) == 1
        session.execute(INSERT)
        assert session.execute("SELECT count(*), count(DISTINCT position) FROM outbox").fetchone() == (2, 2)


def test_a_transaction_that_began_before_is_named(bind: Engine, database: str) -> None:
    now = datetime.now(UTC)
    with bind.connect() as tx:
        assert partitions.began_before(tx, now - timedelta(hours=1)) is None
    with psycopg.connect(database, application_name="a report") as idle:
        idle.execute("SELECT 1")
        pid = idle.info.backend_pid
        with bind.connect() as tx:
            found = partitions.began_before(tx, now + timedelta(hours=1))
            assert partitions.began_before(tx, now - timedelta(hours=1)) is None
    assert found is not None
    assert found.startswith("a transaction open since ")
    assert found.endswith(f" of process {pid} (a report)")


def test_of_another_role_only_an_open_transaction_counts(bind: Engine, database: str) -> None:
    """An ordinary role does not see when another's transaction began, only that there is one."""
    role = f"plain_{uuid4().hex[:8]}"
    with psycopg.connect(database, autocommit=True) as owner, psycopg.connect(database) as other:
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'".encode())
        try:
            name = urlsplit(database)
            dsn = name._replace(netloc=f"{role}:x@{name.hostname}:{name.port}").geturl()
            plain = db.engine(Settings(dsn=dsn), size=1)
            long_ago = datetime.now(UTC) - timedelta(days=9)
            with plain.connect() as tx:
                assert partitions.began_before(tx, long_ago) is None
            other.execute("SELECT 1")
            with plain.connect() as tx:
                assert "pg_read_all_stats" in str(partitions.began_before(tx, long_ago))
            other.rollback()
            plain.dispose()
        finally:
            owner.execute(f"DROP ROLE {role}".encode())


def test_of_prepared_transactions_only_a_writer_of_events_counts(bind: Engine, database: str) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=9)
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("BEGIN; CREATE TABLE elsewhere (n int); PREPARE TRANSACTION 'elsewhere'")
        with bind.connect() as tx:
            assert partitions.began_before(tx, long_ago) is None
        session.execute(b"BEGIN;" + INSERT + b"; PREPARE TRANSACTION 'left behind'")
        with bind.connect() as tx:
            assert str(partitions.began_before(tx, long_ago)).startswith("the prepared transaction 'left behind' of ")
        for gid in ("elsewhere", "left behind"):
            session.execute(f"ROLLBACK PREPARED '{gid}'".encode())
