"""Which events come next? Every row that is visible in one snapshot and not in the one before, in `position` order.

A *span* lies between two snapshots: s1, where the last span ended, and s2, the present. Nothing
is lost when a transaction commits late: its rows are invisible in s1, whatever their position, and
visible in some later s2. Nothing waits for a long transaction either. This is the idea behind
PgQ (docs/design.md, "Relay").

A *window* is what one Kafka transaction carries: a whole span, or, when the span has too many
rows, a part of it by position, (lo, hi]. The windows of one span share s1 and s2 and follow on
each other: lo is the last one's hi. The last of them has hi = `POSITION_MAX`; only after that one
does the next span begin, with its s2 as s1. A window is cut only when a further row was seen,
so that none is ever empty. Rows are append-only and both snapshots are fixed: the same window
holds the same events for ever.

A window is recorded before it is published: a crashed server hands out transaction ids again
that it assigned but never wrote, and a snapshot that only lived in memory would then hide new
rows for ever. The row's own transaction id lies above s2 and pins it. Home of the table
`relay_windows`, and the one place that reads `outbox` by windows.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from paidonce.app.errors import LeaseLostError
from paidonce.app.messaging.envelope import Event
from paidonce.app.steps import step
from paidonce.workers import leases
from paidonce.workers.leases import Lease, Session

#: The largest bigint: no position lies beyond, so it ends a span.
POSITION_MAX = 2**63 - 1

#: A snapshot that sees no transaction: before a shard's first window everything is still to be published.
NOTHING_SEEN = "1:1:"

SNAPSHOT = "SELECT pg_current_snapshot()::text"

# S5: by what was visible, never by `id > last`, which skips a lower position that commits later.
IN_SPAN = """
       shard = %(shard)s
   AND (txid = ANY (%(xip1)s::xid8[]) OR (txid >= %(xmax1)s::xid8 AND txid < %(xmax2)s::xid8))
   AND pg_visible_in_snapshot(txid, %(s2)s::pg_snapshot) AND NOT pg_visible_in_snapshot(txid, %(s1)s::pg_snapshot)
"""
#: Whether a new span fits into one window: reads at most one row more than that.
COUNT_SPAN = f"SELECT count(*) FROM (SELECT FROM outbox WHERE {IN_SPAN} LIMIT %(limit)s + 1) AS few"  # noqa: S608  our own text
END_OF_SPAN = f"SELECT coalesce(max(position), 0) FROM outbox WHERE {IN_SPAN}"  # noqa: S608  our own text
ROW = "SELECT position, id, aggregatetype, aggregateid, type, sequence, payload, headers, created_at FROM outbox"
#: Read by nobody but `paidonce status`: counts no further than somebody would read.
COUNT_AFTER = f"SELECT count(*) FROM (SELECT FROM outbox WHERE {IN_SPAN} AND position > %(lo)s LIMIT %(limit)s) AS few"  # noqa: S608  our own text
#: For a few rows among many retained ones; `+ 0` keeps the planner from walking the index of positions to find them.
READ_SPAN = f"{ROW} WHERE {IN_SPAN} AND position > %(lo)s AND position <= %(hi)s ORDER BY position + 0"
#: For the next of very many rows: along the index of positions, up to the limit.
READ_PART = f"{ROW} WHERE {IN_SPAN} AND position > %(lo)s AND position <= %(hi)s ORDER BY position LIMIT %(limit)s + 1"

# S8: only under the epoch of the lease; a stale owner's insert finds no row to insert, or loses on the key.
RECORD = f"""
    INSERT INTO relay_windows (shard, number, epoch, s1, s2, lo, hi, identity)
    SELECT %(shard)s, %(number)s, %(epoch)s, %(s1)s::pg_snapshot, %(s2)s::pg_snapshot, %(lo)s, %(hi)s, %(identity)s
     WHERE {leases.HELD}
    RETURNING number
"""
COLUMNS = "shard, number, epoch, s1::text, s2::text, lo, hi, identity, published"
NEWEST = f"SELECT {COLUMNS} FROM relay_windows WHERE shard = %(shard)s ORDER BY number DESC LIMIT 1"  # noqa: S608  ours
FIRST_FROM = f"""
    SELECT {COLUMNS} FROM relay_windows
     WHERE shard = %(shard)s AND number >= %(number)s ORDER BY number LIMIT 1
"""  # noqa: S608  our own text
LAST_PUBLISHED = """
    SELECT coalesce(max(number), 0) FROM relay_windows WHERE shard = %(shard)s AND published IS NOT NULL
"""
PUBLISHED = """
    UPDATE relay_windows SET published = clock_timestamp()
     WHERE shard = %(shard)s AND number = %(number)s AND published IS NULL
"""
#: The oldest windows are the first by number: looking at those alone finds every old one, batch by batch.
REMOVE_OLD = """
    DELETE FROM relay_windows AS old
     USING (SELECT number, created_at FROM relay_windows
             WHERE shard = %(shard)s ORDER BY number LIMIT %(most)s) AS first
     WHERE old.shard = %(shard)s AND old.number = first.number
       AND first.created_at < now() - %(older_than)s
       AND old.number < (SELECT max(number) - 1 FROM relay_windows WHERE shard = %(shard)s)
"""
#: Rows below the snapshot's xmin were published for certain; of the others, none may be invisible in it.
UNPUBLISHED_IN = """
    SELECT EXISTS (SELECT FROM {partition} WHERE shard = %(shard)s
                      AND txid >= pg_snapshot_xmin(%(s2)s::pg_snapshot)
                      AND NOT pg_visible_in_snapshot(txid, %(s2)s::pg_snapshot))
"""


@dataclass(frozen=True, slots=True)
class Window:
    """A row of `relay_windows`: always the same events."""

    shard: int
    #: counts from 1, without gaps; the offset that Kafka keeps
    number: int
    #: of the lease under which it was recorded
    epoch: int
    #: pg_snapshot as text, `xmin:xmax:xip,xip`
    s1: str
    s2: str
    #: positions, (lo, hi]
    lo: int
    hi: int
    #: random, drawn once: tells this window from another under the same number
    identity: UUID
    #: when its shard went idle after it was published; None says nothing
    published: datetime | None

    @property
    def ends_span(self) -> bool:
        """Whether the next window begins a new span."""
        return self.hi == POSITION_MAX


@dataclass(frozen=True, slots=True)
class Stored:
    """An event as the outbox holds it."""

    event: Event
    position: int
    created_at: datetime


@step("relay.record")
def record_next(
    session: Session, lease: Lease, shard: int, newest: Window | None, *, events_max: int, span_end: int = POSITION_MAX
) -> tuple[Window, list[Stored]] | None:
    """Take S2, read what comes after `newest`, and record it as a window; None when there is nothing.

    One transaction. `span_end` bounds the search in a span that was cut (`end_of_span`); any
    bound gives the same rows.

    Raises:
        LeaseLostError: another owner's epoch has begun.
        psycopg.errors.UniqueViolation: a stale owner has recorded this number: read the newest again.
    """
    with session.transaction():
        if newest is not None and not newest.ends_span:
            span = _span(shard, newest.s1, newest.s2, newest.hi, span_end)
            rows = _read(session, READ_PART, span | {"limit": events_max})
        else:
            s1 = NOTHING_SEEN if newest is None else newest.s2
            span = _span(shard, s1, _snapshot(session), 0, POSITION_MAX)
            rows = _read_new(session, span | {"limit": events_max})
        if not rows:
            return None
        part = rows[:events_max]
        hi = part[-1].position if len(rows) > events_max else POSITION_MAX
        window = Window(
            shard,
            newest.number + 1 if newest else 1,
            lease.epoch,
            span["s1"],
            span["s2"],
            span["lo"],
            hi,
            uuid4(),
            None,
        )
        _record(session, lease, window)
    return window, part


def end_of_span(session: Session, window: Window) -> int:
    """Return the last position of the span of `window`."""
    return int(_one(session, END_OF_SPAN, _span(window.shard, window.s1, window.s2, 0, POSITION_MAX)))


def events_of(session: Session, window: Window) -> list[Stored]:
    """Return the events of a recorded window, in order."""
    bounds = _span(window.shard, window.s1, window.s2, window.lo, window.hi)
    # A part of a span is found by its positions, a whole span by its transactions.
    if window.lo == 0 and window.ends_span:
        return _read(session, READ_SPAN, bounds)
    return _read(session, READ_PART, bounds | {"limit": POSITION_MAX - 1})


def newest(session: Session, shard: int) -> Window | None:
    """Return the shard's last recorded window."""
    return _window(session, NEWEST, {"shard": shard})


def waiting(session: Session, shard: int, *, most: int) -> int:
    """Return how many of the shard's events are in no window yet; counts to `most` for each of two spans."""
    last = newest(session, shard)
    present = _span(shard, NOTHING_SEEN if last is None else last.s2, _snapshot(session), 0, POSITION_MAX)
    spans = [present]
    if last is not None and not last.ends_span:
        spans.append(_span(shard, last.s1, last.s2, last.hi, POSITION_MAX))
    return sum(int(_one(session, COUNT_AFTER, span | {"limit": most})) for span in spans)


def first_from(session: Session, shard: int, number: int) -> Window | None:
    """Return the shard's first retained window with this number or a later one."""
    return _window(session, FIRST_FROM, {"shard": shard, "number": number})


def last_published(session: Session, shard: int) -> int:
    """Return the number of the last window marked as published when its shard went idle; 0: none."""
    return int(_one(session, LAST_PUBLISHED, {"shard": shard}))


@step("relay.mark_published")
def mark_published(session: Session, window: Window) -> None:
    """Remember beside Kafka that `window` was published, once: Kafka forgets after a week's silence."""
    session.execute(PUBLISHED, {"shard": window.shard, "number": window.number})


@step("relay.remove_windows")
def remove_old(session: Session, shard: int, *, older_than: timedelta, most: int) -> int:
    """Remove up to `most` windows recorded longer ago than that, never the newest two; return how many."""
    return session.execute(REMOVE_OLD, {"shard": shard, "older_than": older_than, "most": most}).rowcount


def published_wholly(session: Session, shard: int, partition: str) -> bool:
    """Tell whether every committed row of the shard in a partition of the outbox was published."""
    last = newest(session, shard)
    if last is not None and last.published is None:
        # The window before the newest was published before that one was recorded (S6).
        last = first_from(session, shard, last.number - 1) if last.number > 1 else None
    seen = NOTHING_SEEN if last is None else last.s2 if last.ends_span else last.s1
    return not _one(session, UNPUBLISHED_IN.format(partition=partition), {"shard": shard, "s2": seen})


def _record(session: Session, lease: Lease, window: Window) -> None:
    names = ("shard", "number", "epoch", "s1", "s2", "lo", "hi", "identity")
    row = {name: getattr(window, name) for name in names} | {"lease": lease.name}
    if session.execute(RECORD, row).fetchone() is None:
        raise LeaseLostError(f"window {window.number} of shard {window.shard} belongs to a later epoch's owner")


def _read_new(session: Session, span: dict[str, Any]) -> list[Stored]:
    count = int(_one(session, COUNT_SPAN, span))
    if not count:
        return []
    return _read(session, READ_SPAN if count <= span["limit"] else READ_PART, span)


def _read(session: Session, statement: str, parameters: dict[str, Any]) -> list[Stored]:
    with session.cursor(binary=True) as cursor:
        return [
            Stored(Event(id_, about, key, type_, sequence, payload, headers), position, created_at)
            for position, id_, about, key, type_, sequence, payload, headers, created_at in cursor.execute(
                statement, parameters
            )
        ]


def _span(shard: int, s1: str, s2: str, lo: int, hi: int) -> dict[str, Any]:
    _, xmax1, xip1 = s1.split(":")
    xmax2 = s2.split(":")[1]
    return {
        "shard": shard, "s1": s1, "s2": s2, "lo": lo, "hi": hi,
        "xip1": f"{{{xip1}}}", "xmax1": xmax1, "xmax2": xmax2,
    }  # fmt: skip


def _snapshot(session: Session) -> str:
    return str(_one(session, SNAPSHOT, {}))


def _one(session: Session, statement: str, parameters: dict[str, Any]) -> Any:
    row = session.execute(statement, parameters).fetchone()
    assert row is not None
    return row[0]


def _window(session: Session, statement: str, parameters: dict[str, Any]) -> Window | None:
    row = session.execute(statement, parameters).fetchone()
    return Window(*row) if row else None
