"""Which events lie between two snapshots? Every row that is visible in the later and not in the earlier, by position.

The statements find them by transaction id, or, where a span has very many, along its positions
(docs/design.md, "Relay"). The one place that reads `outbox` by snapshots.
"""

from dataclasses import dataclass, replace
from typing import Any

from paidonce.workers.leases import Session
from paidonce.workers.stored import Part, Stored, cut

#: The largest bigint: no position lies beyond, so it ends a span.
POSITION_MAX = 2**63 - 1
#: Events of a span that is read at once: 40 ms of 5,000 a second.
SMALL_EVENTS = 200
#: No bound on the bytes of a part.
BYTES_MAX = 2**62

#: A snapshot that sees no transaction: before a shard's first window everything is still to be published.
NOTHING_SEEN = "1:1:"

# S5: by what was visible, never by `id > last`, which skips a lower position that commits later.
SEEN = "pg_visible_in_snapshot(txid, %(s2)s::pg_snapshot) AND NOT pg_visible_in_snapshot(txid, %(s1)s::pg_snapshot)"
#: Only these transactions can be: those that ran when the earlier snapshot was taken, and those that began later.
LATE = "txid = ANY (%(xip1)s::xid8[])"
FRESH = "txid >= %(xmax1)s::xid8 AND txid < %(xmax2)s::xid8"
#: As one range of positions: for the next of very many rows.
BY_POSITION = f"outbox WHERE shard = %(shard)s AND ({LATE} OR {FRESH}) AND {SEEN}"
#: As two ranges of transactions: for a few rows among many retained ones.
BY_TXID = f"""
    (SELECT * FROM outbox WHERE shard = %(shard)s AND {LATE} AND {SEEN} UNION ALL
     SELECT * FROM outbox WHERE shard = %(shard)s AND {FRESH} AND {SEEN}) AS span
"""  # noqa: S608  our own text
#: The same where the later snapshot is the statement's own.
TO_PRESENT = BY_TXID.replace("%(s2)s::pg_snapshot", "pg_current_snapshot()").replace(
    "%(xmax2)s::xid8", "pg_snapshot_xmax(pg_current_snapshot())"
)
#: Of a large value, which the server keeps apart, this reads the length only.
SIZE = "octet_length(payload) + pg_column_size(headers)"
ROW = f"""
    SELECT position, id::text, aggregatetype, aggregateid, type, sequence, payload, headers::text,
           to_json(created_at)::text, {SIZE}
"""
#: The present, and the span up to it if it is small: one statement instead of two for what a steady load brings.
#: What it costs a large one is bounded: it looks at a few rows, and sends no more bytes than fit into a window.
SMALL = f"""
    {ROW}, found, pg_current_snapshot()::text
      FROM (SELECT *, count(*) OVER () AS found, row_number() OVER span AS nth, sum({SIZE}) OVER span AS bytes
              FROM (SELECT * FROM {TO_PRESENT} LIMIT %(small)s + 1) AS few
            WINDOW span AS (ORDER BY position ROWS UNBOUNDED PRECEDING)) AS part
     WHERE nth = 1 OR bytes <= %(bytes_max)s ORDER BY position
"""  # noqa: S608  our own text
#: The present, and whether the span up to it fits into one window: reads at most one row more than that.
PRESENT = f"""
    SELECT pg_current_snapshot()::text, count(*), coalesce(sum(size), 0)::bigint
      FROM (SELECT {SIZE} AS size FROM {TO_PRESENT} LIMIT %(events_max)s + 1) AS few
"""  # noqa: S608  our own text
WHOLE = f"{ROW} FROM {BY_TXID} ORDER BY position"
#: Up to the limits and one row more: the first alone may be above them, and its successor is seen all the same.
NEXT_PART = f"""
    {ROW} FROM (SELECT *, row_number() OVER span AS nth, sum({SIZE}) OVER span AS bytes
                  FROM {BY_POSITION} AND position > %(lo)s AND position <= %(hi)s
                WINDOW span AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
                 ORDER BY position LIMIT %(events_max)s + 1) AS part
     WHERE nth <= 2 OR bytes - ({SIZE}) <= %(bytes_max)s
"""  # noqa: S608  our own text
FIRST = f"SELECT min(position) FROM {BY_TXID}"  # noqa: S608  our own text
LAST = f"SELECT position FROM {BY_POSITION} ORDER BY position DESC LIMIT 1"  # noqa: S608  our own text
#: For figures: counts no further than somebody would read.
COUNT = """
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
      FROM (SELECT created_at FROM {} LIMIT %(most)s) AS few
"""
COUNT_PRESENT = COUNT.format(TO_PRESENT)
COUNT_REST = COUNT.format(f"{BY_TXID} WHERE position > %(lo)s")


@dataclass(frozen=True, slots=True)
class Span:
    """The events of a shard between two snapshots; of those, the ones in (lo, hi]."""

    shard: int
    #: pg_snapshot as text, `xmin:xmax:xip,xip`
    s1: str
    s2: str
    lo: int = 0
    hi: int = POSITION_MAX

    def parameters(self) -> dict[str, Any]:
        """Return what the statements ask for."""
        _, xmax1, xip1 = self.s1.split(":")
        xmax2 = self.s2.split(":")[1]
        return {
            "shard": self.shard, "s1": self.s1, "s2": self.s2, "lo": self.lo, "hi": self.hi,
            "xip1": f"{{{xip1}}}", "xmax1": xmax1, "xmax2": xmax2,
        }  # fmt: skip


def present(session: Session, shard: int, s1: str, *, events_max: int, bytes_max: int) -> tuple[Span, Part]:
    """Return the span from `s1` to now, and what of it fits into one window."""
    since, limits = _until_now(shard, s1), {"events_max": events_max, "bytes_max": bytes_max}
    found = _small(session, since, **limits)
    if found is not None:
        return found
    row = _one(session, PRESENT, since | limits)
    span = Span(shard, s1, row[0])
    if row[1] <= events_max and row[2] <= bytes_max:
        return span, Part(whole(session, span), is_last=True)
    # Else the search would begin at the oldest retained row; any bound below the first gives the same part.
    near = replace(span, lo=_one(session, FIRST, span.parameters())[0] - 1)
    return span, part(session, near, **limits)


def part(session: Session, span: Span, *, events_max: int, bytes_max: int = BYTES_MAX) -> Part:
    """Return the first events of `span`, as many as fit into one window."""
    limits = {"events_max": events_max, "bytes_max": bytes_max}
    return cut(_read(session, NEXT_PART, span.parameters() | limits), **limits)


def whole(session: Session, span: Span) -> list[Stored]:
    """Return all events of a small span, whatever its positions."""
    return _read(session, WHOLE, span.parameters())


def last_position(session: Session, span: Span) -> int:
    """Return the position of the last event of a span that has one."""
    return int(_one(session, LAST, span.parameters())[0])


def count(session: Session, shard: int, s1: str, *, most: int) -> tuple[int, float]:
    """Return how many events came after `s1`, counted to `most`, and the oldest one's age in seconds."""
    number, age_s = _one(session, COUNT_PRESENT, _until_now(shard, s1) | {"most": most})
    return number, age_s


def count_rest(session: Session, span: Span, *, most: int) -> tuple[int, float]:
    """Return the same of what is left of a span."""
    number, age_s = _one(session, COUNT_REST, span.parameters() | {"most": most})
    return number, age_s


def _small(session: Session, since: dict[str, Any], *, events_max: int, bytes_max: int) -> tuple[Span, Part] | None:
    limits = {"small": min(SMALL_EVENTS, events_max), "bytes_max": bytes_max}
    rows = session.cursor(binary=True).execute(SMALL, since | limits).fetchall()
    if not rows:
        return Span(since["shard"], since["s1"], NOTHING_SEEN), Part([], is_last=True)
    found, s2 = rows[0][-2:]
    if found > limits["small"] or found > len(rows):
        return None
    return Span(since["shard"], since["s1"], s2), Part([Stored._make(row[:-2]) for row in rows], is_last=True)


def _until_now(shard: int, s1: str) -> dict[str, Any]:
    return Span(shard, s1, NOTHING_SEEN).parameters()


def _read(session: Session, statement: str, parameters: dict[str, Any]) -> list[Stored]:
    with session.cursor(binary=True, row_factory=lambda _: Stored._make) as cursor:
        return cursor.execute(statement, parameters).fetchall()


def _one(session: Session, statement: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = session.execute(statement, parameters).fetchone()
    assert row is not None
    return row
