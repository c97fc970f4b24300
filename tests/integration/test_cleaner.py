"""The cleaner removes what nobody needs any more, and nothing else."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging import partitions
from paidonce.app.settings import Settings
from paidonce.workers import cleaner as cleaner_module
from paidonce.workers import cleaner_days, leases, windows
from paidonce.workers.cleaner import Cleaner
from paidonce.workers.windows import Window

NOW = datetime.now(UTC)
TODAY = NOW.date()


class Then:
    """A clock that stands `days` from today."""

    def __init__(self, days: int) -> None:
        self._now = NOW + timedelta(days=days)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def options(settings: Settings) -> Settings:
    """Short times that fit each other: 2 days of outbox and 3 more in which a message can come back."""
    return settings.model_copy(
        update={
            "outbox_retention_d": 2,
            "topic_retention_d": 1,
            "topic_segment_d": 1,
            "redrive_horizon_d": 1,
            "clock_skew_s": 60,
            "inbox_retention_d": 6,
            "partitions_ahead_d": 1,
            "cleaner_lease_s": 60,
        }
    )


@pytest.fixture
def bind(options: Settings) -> Iterator[Engine]:
    engine = db.engine(options)
    yield engine
    engine.dispose()


@pytest.fixture
def session(database: str) -> Iterator[leases.Session]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def clean(options: Settings, bind: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs a cleaner `days` from today, by this machine's clock and by the database's."""
    made: list[Cleaner] = []

    def run(days: int = 0, **changes: Any) -> int:
        then = Then(days)
        monkeypatch.setattr(partitions, "now", lambda _tx: then.now())
        made.append(Cleaner(options.model_copy(update=changes), bind, then))
        count = made[-1].run_once()
        made[-1].close()
        return count

    yield run
    for one in made:
        one.close()


def days(bind: Engine, table: partitions.Partitioned) -> list[date]:
    with bind.connect() as tx:
        return list(partitions.attached(tx, table)) + partitions.loose(tx, table)


def in_days(count: int) -> date:
    return TODAY + timedelta(days=count)


def put_event(session: psycopg.Connection[Any], day: int = 0, key: str = "k") -> None:
    session.execute(
        "INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, created_at)"
        " VALUES (gen_random_uuid(), 'payment', %s, 't', 1, '', now() + %s * interval '1 day')",
        (key, day),
    )


def record_all(session: leases.Session) -> list[Window]:
    """Everything in the outbox is in a window, and published."""
    found = []
    for shard in (0, 1):
        session.execute("UPDATE leases SET owner = NULL")
        lease = leases.acquire(session, f"relay-shard-{shard}", "test", for_s=60)
        assert lease is not None
        recorded = windows.record_next(session, lease, shard, windows.newest(session, shard), events_max=100)
        if recorded is not None:
            windows.mark_published(session, recorded[0])
            found.append(recorded[0])
    return found


def test_days_ahead_are_made_and_empty_days_behind_dropped(bind: Engine, clean: Any) -> None:
    assert clean(days=20) > 0
    assert days(bind, "outbox") == [in_days(n) for n in (19, 20, 21)]
    assert (min(days(bind, "inbox")), max(days(bind, "inbox"))) == (in_days(14), in_days(21))
    assert clean(days=20) == 0


def test_a_day_with_unpublished_events_stays(bind: Engine, session: leases.Session, clean: Any) -> None:
    put_event(session)
    clean(days=20)
    assert in_days(0) in days(bind, "outbox")
    assert in_days(1) not in days(bind, "outbox")
    assert record_all(session)
    clean(days=20)
    assert in_days(0) not in days(bind, "outbox")


@pytest.mark.parametrize("shards", [1, 8])
def test_how_many_shards_there_are_is_what_was_fixed_and_not_what_this_shell_says(
    bind: Engine, session: leases.Session, clean: Any, shards: int
) -> None:
    """With one shard too few its events would go unpublished, and its windows stay for ever."""
    for key in "abcdefgh":
        put_event(session, key=key)
    assert session.execute("SELECT count(DISTINCT shard) FROM outbox").fetchone() == (2,)
    assert len(record_all(session)) == 2
    session.execute("UPDATE relay_windows SET published = NULL WHERE shard = 1")
    clean(days=20, outbox_shards=shards)
    assert in_days(0) in days(bind, "outbox")
    session.execute(
        "INSERT INTO relay_windows (shard, number, epoch, s1, s2, lo, hi, identity, created_at)"
        " SELECT 1, n, 1, '1:1:', '2:2:', 0, 9, gen_random_uuid(), now() - interval '3 days'"
        " FROM generate_series(2, 4) n"
    )
    session.execute("UPDATE relay_windows SET published = now(), created_at = now() - interval '3 days'")
    clean(outbox_shards=shards)
    left = session.execute("SELECT number FROM relay_windows WHERE shard = 1 ORDER BY 1").fetchall()
    assert left == [(3,), (4,)]


def test_a_window_that_is_only_recorded_does_not_free_its_day(
    bind: Engine, session: leases.Session, clean: Any
) -> None:
    put_event(session)
    assert record_all(session)
    session.execute("UPDATE relay_windows SET published = NULL")
    clean(days=20)
    assert in_days(0) in days(bind, "outbox")


def test_a_day_stays_while_a_transaction_from_before_its_end_is_open(
    bind: Engine, session: leases.Session, database: str, clean: Any
) -> None:
    put_event(session)
    assert record_all(session)
    with psycopg.connect(database) as old:
        old.execute("SELECT 1")
        clean(days=20)
        assert in_days(0) in days(bind, "outbox"), "it may still write into today's partition"
        put_event(old)
        old.commit()
    clean(days=20)
    assert in_days(0) in days(bind, "outbox"), "it did, and nobody published that"
    assert record_all(session)
    clean(days=20)
    assert in_days(0) not in days(bind, "outbox")


def test_an_idle_writer_only_delays_a_drop(
    bind: Engine, session: leases.Session, database: str, clean: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaner_module, "LOCK_TIMEOUT_MS", 100)
    yesterday = in_days(-1)
    with psycopg.connect(database) as idle, psycopg.connect(database, options="-c lock_timeout=3s") as other:
        idle.execute("SELECT pg_sleep(0)")
        put_event(idle)
        assert clean(days=2) >= 0
        assert yesterday in days(bind, "outbox")
        put_event(other)
    record_all(session)
    clean(days=2)
    assert yesterday not in days(bind, "outbox")
    assert in_days(0) in days(bind, "outbox")


def test_an_inbox_day_goes_by_its_newest_arrival(bind: Engine, session: leases.Session, clean: Any) -> None:
    session.execute("INSERT INTO inbox (consumer, message_id) VALUES ('c', %s)", (new_id(),))
    session.execute("UPDATE inbox SET arrived_at = now() + interval '15 days'")
    clean(days=20)
    assert in_days(0) in days(bind, "inbox"), "a late arrival, redriven perhaps"
    assert in_days(1) not in days(bind, "inbox")
    session.execute("UPDATE inbox SET arrived_at = now() + interval '13 days'")
    clean(days=20)
    assert in_days(0) not in days(bind, "inbox")


@pytest.mark.parametrize("old", [2, 3, 4])
def test_the_newest_two_windows_of_a_shard_stay(session: leases.Session, clean: Any, old: int) -> None:
    session.execute(
        "INSERT INTO relay_windows (shard, number, epoch, s1, s2, lo, hi, identity, created_at)"
        " SELECT shard, n, 1, '1:1:', '2:2:', 0, 9, gen_random_uuid(), now() - interval '3 days'"
        " FROM generate_series(1, %s) n, generate_series(0, 1) shard",
        (old,),
    )
    clean()
    left = session.execute("SELECT shard, number FROM relay_windows ORDER BY 1, 2").fetchall()
    assert left == [(shard, number) for shard in (0, 1) for number in (old - 1, old)]


def test_young_windows_stay_and_batches_are_bounded(session: leases.Session) -> None:
    session.execute(
        "INSERT INTO relay_windows (shard, number, epoch, s1, s2, lo, hi, identity, created_at)"
        " SELECT 0, n, 1, '1:1:', '2:2:', 0, 9, gen_random_uuid(), now() - (6 - n) * interval '1 day'"
        " FROM generate_series(1, 6) n"
    )
    older_than = timedelta(days=2, hours=12)
    assert windows.remove_old(session, 0, older_than=older_than, most=2) == 2
    assert windows.remove_old(session, 0, older_than=older_than, most=2) == 1
    assert windows.remove_old(session, 0, older_than=older_than, most=2) == 0
    left = session.execute("SELECT number FROM relay_windows ORDER BY 1").fetchall()
    assert left == [(4,), (5,), (6,)]


def test_expired_keys_become_tombstones_and_old_tombstones_go(session: leases.Session, clean: Any) -> None:
    most = cleaner_module.BATCH_ROWS
    session.execute(
        "INSERT INTO idempotency (tenant, endpoint, idem_key, request_hash, hash_version, response_status, expires_at)"
        " SELECT 't', 'e', 'expired-' || n, repeat('0', 64), 1, 201, now() - interval '1 second'"
        " FROM generate_series(1, %s) n",
        (most + 1,),
    )
    session.execute(
        "INSERT INTO idempotency (tenant, endpoint, idem_key, request_hash, hash_version, response_status, expires_at)"
        " VALUES ('t', 'e', 'young', repeat('0', 64), 1, 201, now() + interval '1 hour'),"
        " ('t', 'e', 'old', repeat('0', 64), 1, NULL, now() - interval '40 days')"
    )
    assert clean() >= most
    assert clean() >= 1
    assert session.execute("SELECT count(*) FROM idempotency WHERE response_status IS NULL").fetchone() == (most + 1,)
    assert session.execute("SELECT idem_key FROM idempotency WHERE response_status IS NOT NULL").fetchall() == [
        ("young",)
    ]
    assert session.execute("SELECT FROM idempotency WHERE idem_key = 'old'").fetchone() is None


def test_old_foreign_ids_go(session: leases.Session, clean: Any) -> None:
    session.execute(
        "INSERT INTO inbox_foreign (consumer, message_id, arrived_at)"
        " VALUES ('c', 'old', now() - interval '7 days'), ('c', 'young', now() - interval '2 days')"
    )
    clean()
    assert session.execute("SELECT message_id FROM inbox_foreign").fetchall() == [("young",)]


def test_only_one_cleaner_works(options: Settings, bind: Engine, session: leases.Session) -> None:
    first, second = Cleaner(options, bind), Cleaner(options, bind)
    first.run_once()
    session.execute(
        "INSERT INTO inbox_foreign (consumer, message_id, arrived_at) VALUES ('c', 'old', now() - interval '7 days')"
    )
    assert second.run_once() == 0
    first.close()
    assert second.run_once() == 1
    second.close()


def test_until_when_rows_have_a_day_to_go_to_can_be_seen_of_the_cleaner_at_work_alone(
    bind: Engine, session: leases.Session, clean: Any
) -> None:
    def until(table: str) -> float | None:
        return REGISTRY.get_sample_value("paidonce_partitions_end_timestamp_seconds", {"table": table})

    clean(days=20)
    end = partitions.midnight(in_days(22)).timestamp()
    assert (until("outbox"), until("inbox")) == (end, end), "today, one day ahead, and its end"
    assert leases.acquire(session, cleaner_module.LEASE, "another", for_s=60)
    clean(days=20)
    assert (until("outbox"), until("inbox")) == (None, None), "another one is at work, and says it"


def test_a_gap_in_the_days_ahead_is_their_end() -> None:
    days = {in_days(0): False, in_days(1): False, in_days(3): False}
    assert cleaner_days._end(days, TODAY) == partitions.midnight(in_days(2))
    assert cleaner_days._end({in_days(0): True}, TODAY) == partitions.midnight(TODAY), "it is being detached"
