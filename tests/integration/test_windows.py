"""Windows hold every committed event exactly once, in order, however the transactions interleave."""

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.errors import ConfigurationError, LeaseLostError
from paidonce.app.settings import Settings
from paidonce.workers import leases, relay_session, spans, windows
from paidonce.workers.leases import Lease, Session
from paidonce.workers.relay_recovery import ShardStoppedError
from paidonce.workers.spans import Span
from paidonce.workers.stored import Stored
from paidonce.workers.windows import Window

KEYS = [f"key-{n}" for n in range(12)]
WRITERS, TRANSACTIONS = 8, 40
EVENTS_MAX = 50
INSERT = """
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)
    VALUES (%s, 'payment', %s, 'payment.accepted', %s, '{}')
"""


@pytest.fixture
def options(database: str) -> Settings:
    return Settings(dsn=database)


@pytest.fixture
def bind(options: Settings) -> Iterator[Engine]:
    engine = db.engine(options)
    yield engine
    engine.dispose()


@pytest.fixture
def session(options: Settings, bind: Engine) -> Iterator[Session]:
    with relay_session.open_session(options, bind) as opened:
        yield opened


@pytest.fixture
def held(session: Session) -> list[Lease]:
    """The leases of both shards."""
    found = [leases.acquire(session, f"relay-shard-{shard}", "test", for_s=600) for shard in (0, 1)]
    return [lease for lease in found if lease is not None]


def key_of(session: Session, shard: int) -> str:
    statement = "SELECT (hashtextextended(%s, 0) & 9223372036854775807) %% 2"
    return next(key for key in KEYS if session.execute(statement, (key,)).fetchone() == (shard,))


def insert(tx: psycopg.Connection[Any], key: str, count: int = 1, first: int = 0) -> list[str]:
    ids = [new_id() for _ in range(count)]
    with tx.cursor() as cursor:
        cursor.executemany(INSERT, [(id_, key, first + n) for n, id_ in enumerate(ids)])
    return [str(id_) for id_ in ids]


def ids_of(events: list[Stored]) -> list[str]:
    return [str(stored.event.id) for stored in events]


def drain(
    session: Session, lease: Lease, shard: int, newest: Window | None = None, events_max: int = EVENTS_MAX
) -> Iterator[tuple[Window, list[Stored]]]:
    while True:
        found = windows.record_next(session, lease, shard, newest, events_max=events_max)
        if found is None:
            return
        newest = found[0]
        yield found


def write(dsn: str, seed: int) -> list[str]:
    """One writer: early transaction ids, locks in order, pauses at the server, rollbacks; what it committed."""
    dice = random.Random(seed)
    committed = []
    with psycopg.connect(dsn) as tx:
        for _ in range(TRANSACTIONS):
            tx.execute("SELECT pg_current_xact_id()")
            ids = []
            for key in sorted(dice.sample(KEYS, dice.randint(1, 3))):
                row = tx.execute("UPDATE versions SET n = n + 1 WHERE key = %s RETURNING n", (key,)).fetchone()
                assert row is not None
                ids += insert(tx, key, first=row[0])
                tx.execute("SELECT pg_sleep(%s)", (dice.random() / 200,))
            if dice.random() < 0.2:
                tx.rollback()
            else:
                tx.commit()
                committed += ids
    return committed


def test_every_committed_event_once_and_in_order_per_key(database: str, session: Session, held: list[Lease]) -> None:
    session.execute("CREATE TABLE versions AS SELECT unnest(%s::text[]) AS key, 0::bigint AS n", (KEYS,))
    newest: list[Window | None] = [None, None]
    read: list[Stored] = []

    def once() -> None:
        for shard, lease in enumerate(held):
            for window, events in drain(session, lease, shard, newest[shard]):
                newest[shard] = window
                read.extend(events)

    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(write, database, seed) for seed in range(WRITERS)]
        while not all(writer.done() for writer in writers):
            once()
        committed = [id_ for writer in writers for id_ in writer.result()]
    once()
    assert len(committed) > WRITERS * TRANSACTIONS
    assert sorted(ids_of(read)) == sorted(committed)
    by_key = defaultdict(list)
    for stored in read:
        by_key[stored.event.aggregateid].append(stored.event.sequence)
    assert all(sequences == sorted(sequences) for sequences in by_key.values())


def test_a_lower_position_that_commits_later_is_not_lost(database: str, session: Session, held: list[Lease]) -> None:
    key = key_of(session, 0)
    with psycopg.connect(database) as slow, psycopg.connect(database) as quick:
        late = insert(slow, key)
        early = insert(quick, key)
        quick.commit()
        first = list(drain(session, held[0], 0))
        assert [ids_of(events) for _, events in first] == [early]
        slow.commit()
        second = list(drain(session, held[0], 0, first[-1][0]))
        assert [ids_of(events) for _, events in second] == [late]


def test_rows_from_before_the_first_window_are_in_it(database: str, session: Session, held: list[Lease]) -> None:
    with psycopg.connect(database) as tx:
        ids = insert(tx, key_of(session, 0), 3)
    [(window, events)] = drain(session, held[0], 0)
    assert (window.number, window.s1, window.lo, window.ends_span) == (1, "1:1:", 0, True)
    assert ids_of(events) == ids


def test_an_empty_window_is_not_recorded(session: Session, held: list[Lease]) -> None:
    assert list(drain(session, held[0], 0)) == []
    assert windows.newest(session, 0) is None


@pytest.mark.parametrize(("count", "sizes"), [(3, [3]), (4, [3, 1]), (6, [3, 3]), (7, [3, 3, 1])])
def test_a_large_span_is_cut_by_position(
    database: str, session: Session, held: list[Lease], count: int, sizes: list[int]
) -> None:
    key = key_of(session, 0)
    with psycopg.connect(database) as tx:
        ids = insert(tx, key, count)
    found, newest, more = [], None, []
    while step := windows.record_next(session, held[0], 0, newest, events_max=3):
        newest, _ = step
        found.append(step)
        with psycopg.connect(database) as tx:  # what comes meanwhile belongs to the next span
            more += insert(tx, key) if len(found) < len(sizes) else []
    cut = found[: len(sizes)]
    assert [len(events) for _, events in cut] == sizes
    assert [id_ for _, events in cut for id_ in ids_of(events)] == ids
    assert [window.ends_span for window, _ in cut] == [False] * (len(sizes) - 1) + [True]
    assert [id_ for _, events in found[len(sizes) :] for id_ in ids_of(events)] == more
    for window, events in found:
        assert ids_of(windows.events_of(session, window)) == ids_of(events), "a window always holds the same"


def test_the_bound_of_a_span_changes_nothing(database: str, session: Session, held: list[Lease]) -> None:
    with psycopg.connect(database) as tx:
        ids = insert(tx, key_of(session, 0), 5)
    first = windows.record_next(session, held[0], 0, None, events_max=3)
    assert first is not None
    end = windows.end_of_span(session, first[0])
    with psycopg.connect(database) as tx:
        insert(tx, key_of(session, 0))
    second = windows.record_next(session, held[0], 0, first[0], events_max=3, span_end=end)
    assert second is not None
    assert ids_of(first[1]) + ids_of(second[1]) == ids
    assert second[0].ends_span


def insert_of(tx: psycopg.Connection[Any], key: str, *sizes: int) -> None:
    for size in sizes:
        tx.execute(INSERT.replace("'{}'", "convert_to(repeat('x', %s), 'UTF8')"), (new_id(), key, 0, size))


#: What the server needs for an empty jsonb object: it counts as well.
EMPTY = 5


@pytest.mark.parametrize(
    ("sizes", "cut"),
    [
        ([400, 400, 400], [2, 1]),
        ([500 - EMPTY, 500 - EMPTY], [2]),
        ([500 - EMPTY, 500 - EMPTY, 1], [2, 1]),
        ([500, 501], [1, 1]),
        ([5_000], [1]),
        ([5_000, 5_000, 1, 1, 1, 1], [1, 1, 3, 1]),
    ],
)
def test_a_large_span_is_cut_by_bytes(
    database: str, session: Session, held: list[Lease], sizes: list[int], cut: list[int]
) -> None:
    """Up to 1,000 bytes or 3 events; an event larger than that goes alone."""
    key = key_of(session, 0)
    with psycopg.connect(database) as tx:
        insert_of(tx, key, *sizes)
    found: list[tuple[Window, list[Stored]]] = []
    newest = None
    while step := windows.record_next(session, held[0], 0, newest, events_max=3, bytes_max=1_000):
        newest = step[0]
        found.append(step)
    assert [len(events) for _, events in found] == cut
    assert [len(stored.payload) for _, events in found for stored in events] == sizes
    assert [window.ends_span for window, _ in found] == [False] * (len(cut) - 1) + [True]
    for window, events in found:
        assert windows.events_of(session, window) == events, "a window always holds the same"


def test_what_is_read_ahead_is_what_would_be_recorded(database: str, session: Session, held: list[Lease]) -> None:
    """Another transaction of the span commits meanwhile: it belongs to a later one."""
    key = key_of(session, 0)
    with psycopg.connect(database) as late, psycopg.connect(database) as tx:
        insert(late, key)
        ids = insert(tx, key, 7)
        tx.commit()
        first = windows.record_next(session, held[0], 0, None, events_max=3)
        assert first is not None
        late.commit()
        ahead = windows.read_ahead(session, first[0], events_max=3, bytes_max=1_000, span_end=windows.POSITION_MAX)
        assert ids_of(ahead.events) == ids[3:6]
        assert windows.newest(session, 0) == first[0], "nothing is recorded ahead"
        second = windows.record_next(session, held[0], 0, first[0], events_max=3, ahead=ahead)
        assert second is not None
        assert second[1] == ahead.events == windows.events_of(session, second[0])
        assert (second[0].lo, second[0].ends_span) == (first[0].hi, False)


def test_no_window_sorts_or_collects_all_that_waits(database: str, session: Session, held: list[Lease]) -> None:
    """Without statistics, as right after a flood: along an index, up to the window's limit and no further."""
    with psycopg.connect(database) as tx:
        tx.execute(
            "INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)"
            " SELECT gen_random_uuid(), 'payment', 'key', 'payment.accepted', n, convert_to(repeat('x', 400), 'UTF8')"
            "   FROM generate_series(1, 20000) n"
        )
    shard = next(shard for shard in (0, 1) if windows.waiting(session, shard, most=1))
    span = Span(shard, spans.NOTHING_SEEN, "1:9000000000:", lo=10_000)
    limits = {"events_max": 10, "bytes_max": 100_000}
    for statement in (spans.PRESENT, spans.NEXT_PART, spans.LAST):
        rows = session.execute(f"EXPLAIN (ANALYZE) {statement}".encode(), span.parameters() | limits).fetchall()
        plan = "\n".join(row[0] for row in rows)
        assert "Bitmap" not in plan, plan
        assert "Sort  " not in plan, plan
        # Of the plan's nodes none handled more than the limit, the one row more, and one that the window looks ahead.
        assert max(int(float(n)) for n in re.findall(r"actual .*?rows=([0-9.]+)", plan)) <= 12, plan


def test_a_stale_owner_records_nothing(database: str, session: Session, held: list[Lease]) -> None:
    with psycopg.connect(database) as tx:
        insert(tx, key_of(session, 0))
    session.execute("UPDATE leases SET expires_at = now() - interval '1 second'")
    successor = leases.acquire(session, held[0].name, "other", for_s=600)
    assert successor is not None
    with pytest.raises(LeaseLostError):
        list(drain(session, held[0], 0))
    assert windows.newest(session, 0) is None
    [(window, _)] = drain(session, successor, 0)
    assert window.epoch == successor.epoch == 2


def test_a_stale_owner_that_was_faster_takes_the_number(database: str, session: Session, held: list[Lease]) -> None:
    with psycopg.connect(database) as tx:
        insert(tx, key_of(session, 0))
    [(window, _)] = drain(session, held[0], 0)
    with psycopg.connect(database) as tx:
        insert(tx, key_of(session, 0))
    with pytest.raises(psycopg.errors.UniqueViolation):
        windows.record_next(session, held[0], 0, None, events_max=3)
    assert windows.newest(session, 0) == window


def test_a_window_is_marked_once(database: str, session: Session, held: list[Lease]) -> None:
    with psycopg.connect(database) as tx:
        insert(tx, key_of(session, 0))
    [(window, _)] = drain(session, held[0], 0)
    assert windows.last_published(session, 0) == 0
    windows.mark_published(session, window)
    marked = windows.newest(session, 0)
    assert marked is not None
    assert marked.published is not None
    windows.mark_published(session, window)
    assert windows.newest(session, 0) == marked
    assert windows.last_published(session, 0) == 1


def test_another_server_is_refused(options: Settings, bind: Engine, session: Session) -> None:
    session.execute("UPDATE installation SET value = '1' WHERE name = 'system_identifier'")
    with pytest.raises(ConfigurationError, match=r"docs/operations\.md"):
        relay_session.open_session(options, bind)


def test_a_server_that_started_its_ids_again_is_refused(session: Session) -> None:
    relay_session.check_clock(session, None)
    future = Window(0, 1, 1, "1:1:", "4000000000:4000000000:", 0, windows.POSITION_MAX, new_id(), None)
    with pytest.raises(ShardStoppedError, match=r"docs/operations\.md"):
        relay_session.check_clock(session, future)


def test_a_window_is_durable_whatever_the_server_s_default(
    postgres: Any, options: Settings, bind: Engine, database: str
) -> None:
    name = database.rsplit("/", 1)[1]
    with psycopg.connect(database, autocommit=True) as tx:
        tx.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    with relay_session.open_session(options, bind) as fresh:
        assert fresh.execute("SHOW synchronous_commit").fetchone() == ("on",)
