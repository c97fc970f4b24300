"""Which events come next? Every row that is visible in one snapshot and not in the one before, in `position` order.

A *span* lies between two snapshots: s1, where the last span ended, and s2, the present. Nothing
is lost when a transaction commits late: its rows are invisible in s1, whatever their position, and
visible in some later s2. Nothing waits for a long transaction either. This is the idea behind
PgQ (docs/design.md, "Relay").

A *window* is what one Kafka transaction carries: a whole span, or, when the span has too many
rows or bytes, a part of it by position, (lo, hi]. The windows of one span share s1 and s2 and
follow on each other: lo is the last one's hi. The last of them has hi = `POSITION_MAX`; only
after that one does the next span begin, with its s2 as s1. A window is cut only when a further
row was seen, so that none is ever empty. Rows are append-only and both snapshots are fixed: the
same window holds the same events for ever.

A window is recorded before it is published: a crashed server hands out transaction ids again
that it assigned but never wrote, and a snapshot that only lived in memory would then hide new
rows for ever. The row's own transaction id lies above s2 and pins it. Home of the table
`relay_windows`; the rows of a span are read by workers/spans.py.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from paidonce.app.errors import LeaseLostError
from paidonce.app.steps import step
from paidonce.workers import leases, spans
from paidonce.workers.leases import Lease, Session
from paidonce.workers.spans import BYTES_MAX, NOTHING_SEEN, POSITION_MAX, Span
from paidonce.workers.stored import Part, Stored

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

#: An event without a row was dropped with its partition, which takes that it was published.
COVERED = """
    SELECT coalesce(bool_or(pg_visible_in_snapshot(txid, %(s1)s::pg_snapshot)
                            OR (pg_visible_in_snapshot(txid, %(s2)s::pg_snapshot) AND position <= %(hi)s)), true)
      FROM outbox WHERE id = %(id)s AND shard = %(shard)s
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

    def rest(self, end: int = POSITION_MAX) -> Span:
        """Return what of its span comes after this window, up to the position `end`."""
        return Span(self.shard, self.s1, self.s2, self.hi, end)


@step("relay.record")
def record_next(
    session: Session,
    lease: Lease,
    shard: int,
    newest: Window | None,
    *,
    events_max: int,
    bytes_max: int = BYTES_MAX,
    span_end: int = POSITION_MAX,
    ahead: Part | None = None,
) -> tuple[Window, list[Stored]] | None:
    """Take S2, read what comes after `newest`, and record it as a window; None when there is nothing.

    One transaction. In a span that was cut S2 is that of `newest`; `span_end` bounds the search
    there (`end_of_span`; any bound gives the same rows), and `ahead` is what `read_ahead` found.

    Raises:
        LeaseLostError: another owner's epoch has begun.
        psycopg.errors.UniqueViolation: a stale owner has recorded this number: read the newest again.
    """
    limits = {"events_max": events_max, "bytes_max": bytes_max}
    with session.transaction():
        if newest is not None and not newest.ends_span:
            span = newest.rest(span_end)
            part = ahead or spans.part(session, span, **limits)
        else:
            s1 = NOTHING_SEEN if newest is None else newest.s2
            span, part = spans.present(session, shard, s1, **limits)
        if not part.events:
            return None
        window = Window(
            shard,
            newest.number + 1 if newest else 1,
            lease.epoch,
            span.s1,
            span.s2,
            span.lo,
            POSITION_MAX if part.is_last else part.events[-1].position,
            uuid4(),
            None,
        )
        _record(session, lease, window)
    return window, part.events


def read_ahead(session: Session, window: Window, *, events_max: int, bytes_max: int, span_end: int) -> Part:
    """Return what of its span comes after `window`, which does not end it; nothing is recorded.

    Its S2 was recorded with it, so this reads what `record_next` would.
    """
    return spans.part(session, window.rest(span_end), events_max=events_max, bytes_max=bytes_max)


def end_of_span(session: Session, window: Window) -> int:
    """Return the last position of the span of `window`."""
    return spans.last_position(session, Span(window.shard, window.s1, window.s2))


def events_of(session: Session, window: Window) -> list[Stored]:
    """Return the events of a recorded window, in order."""
    span = Span(window.shard, window.s1, window.s2, window.lo, window.hi)
    # A part of a span is found by its positions, a whole span by its transactions.
    if window.lo == 0 and window.ends_span:
        return spans.whole(session, span)
    return spans.part(session, span, events_max=POSITION_MAX - 1).events


def newest(session: Session, shard: int) -> Window | None:
    """Return the shard's last recorded window."""
    return _window(session, NEWEST, {"shard": shard})


def waiting(session: Session, shard: int, *, most: int) -> int:
    """Return how many of the shard's events are in no window yet; counts to `most` for each of two spans."""
    return after(session, shard, newest(session, shard), most=most)[0]


def after(session: Session, shard: int, window: Window | None, *, most: int) -> tuple[int, float]:
    """Return how many events come after `window` (None: all), as `waiting` counts, and the oldest's age in seconds."""
    found = [spans.count(session, shard, NOTHING_SEEN if window is None else window.s2, most=most)]
    if window is not None and not window.ends_span:
        found.append(spans.count_rest(session, window.rest(), most=most))
    return sum(count for count, _ in found), max(age_s for _, age_s in found)


def first_from(session: Session, shard: int, number: int) -> Window | None:
    """Return the shard's first retained window with this number or a later one."""
    return _window(session, FIRST_FROM, {"shard": shard, "number": number})


def last_published(session: Session, shard: int) -> int:
    """Return the number of the last window marked as published when its shard went idle; 0: none."""
    return int(_one(session, LAST_PUBLISHED, {"shard": shard})[0])


def surely_published(session: Session, shard: int) -> Window | None:
    """Return the last window that is known from the database alone to be published; None: there is none."""
    last = newest(session, shard)
    if last is None or last.published is not None:
        return last
    # The window before the newest was published before that one was recorded (S6).
    return first_from(session, shard, last.number - 1) if last.number > 1 else None


def covers(session: Session, window: Window, message_id: str) -> bool:
    """Tell whether an event is in `window` or an earlier one."""
    bounds = {"shard": window.shard, "s1": window.s1, "s2": window.s2, "hi": window.hi, "id": message_id}
    return bool(_one(session, COVERED, bounds)[0])


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
    last = surely_published(session, shard)
    seen = NOTHING_SEEN if last is None else last.s2 if last.ends_span else last.s1
    return not _one(session, UNPUBLISHED_IN.format(partition=partition), {"shard": shard, "s2": seen})[0]


def _record(session: Session, lease: Lease, window: Window) -> None:
    names = ("shard", "number", "epoch", "s1", "s2", "lo", "hi", "identity")
    row = {name: getattr(window, name) for name in names} | {"lease": lease.name}
    if session.execute(RECORD, row).fetchone() is None:
        raise LeaseLostError(f"window {window.number} of shard {window.shard} belongs to a later epoch's owner")


def _one(session: Session, statement: str, parameters: dict[str, Any]) -> Any:
    row = session.execute(statement, parameters).fetchone()
    assert row is not None
    return row


def _window(session: Session, statement: str, parameters: dict[str, Any]) -> Window | None:
    row = session.execute(statement, parameters).fetchone()
    return Window(*row) if row else None
