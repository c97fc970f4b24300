"""How do events and windows of a reloaded dump fit a server that counts its transactions anew?

A dump keeps `txid` as a value, but the new server's counter begins wherever that server is. What was
published gets an id that lies before every new one, what was not the id of this very transaction,
and the windows are made anew over what was published, in `position` order, so that they still hold
it (docs/design.md, "Relay"). Guest of the tables `outbox` and `relay_windows`.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID, uuid4

from paidonce.app.steps import step
from paidonce.workers.broker_marks import Mark
from paidonce.workers.leases import Session
from paidonce.workers.spans import NOTHING_SEEN, POSITION_MAX
from paidonce.workers.windows import Window

#: The first transaction id that a server ever gives to a user's transaction (FirstNormalTransactionId).
OLDEST = 3

#: A row's xmin without its wrap-around: which transaction of this server wrote it, the reload itself included.
WRITER = "(%(now)s - (((%(now)s - xmin::text::bigint) %% 4294967296) + 4294967296) %% 4294967296)"
#: Rows that the reload brought name a transaction of the old server: later than the one that wrote them here, or
#: earlier than all of those. No row that was written on this server is of either kind, or lies before one that is.
RELOADED_UP_TO = f"SELECT coalesce(max(position), 0) FROM outbox WHERE txid::text::bigint > {WRITER}"  # noqa: S608  our own text
FIRST_WRITER = f"SELECT min{WRITER} FROM outbox"  # noqa: S608  our own text

#: In doubt a row was written here, so it is not published, and comes again.
PUBLISHED = f"""
    ((pg_visible_in_snapshot(txid, %(s1)s::pg_snapshot)
      OR (pg_visible_in_snapshot(txid, %(s2)s::pg_snapshot) AND position <= %(hi)s))
     AND NOT (position > %(up_to)s AND txid::text::bigint >= %(first)s AND txid::text::bigint <= {WRITER}))
"""
FIT = f"""
    UPDATE outbox
       SET txid = CASE WHEN {PUBLISHED} THEN %(oldest)s::text::xid8 ELSE pg_current_xact_id() END
     WHERE shard = %(shard)s AND NOT ({PUBLISHED} AND txid < pg_snapshot_xmin(pg_current_snapshot()))
"""  # noqa: S608  our own text
SIZES = """
    SELECT position, octet_length(payload) + pg_column_size(headers) FROM outbox
     WHERE shard = %(shard)s AND txid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY position
"""
#: Rows of SIZES that are fetched together.
SIZES_AT_ONCE = 10_000
UNPUBLISHED = (
    f"SELECT count(*) FROM (SELECT FROM outbox WHERE shard = %(shard)s AND NOT {PUBLISHED} LIMIT %(most)s) AS few"  # noqa: S608  our own text
)
FORGET = "DELETE FROM relay_windows WHERE shard = %(shard)s"
RECORD = """
    INSERT INTO relay_windows (shard, number, epoch, s1, s2, lo, hi, identity, published)
    VALUES (%(shard)s, %(number)s, %(epoch)s, %(s1)s, pg_current_snapshot(), %(lo)s, %(hi)s, %(identity)s,
            clock_timestamp())
"""


@step("repair.fit")
def fit(
    session: Session,
    kept: Mapping[int, tuple[Mark, Window | None]],
    epochs: Mapping[int, int],
    *,
    events_max: int,
    bytes_max: int,
) -> None:
    """Fit the shards to this server, in one transaction.

    `kept` has, for each, the last window that was published (its mark, and its row), `epochs` the
    lease's epoch. Writers may go on meanwhile: what they commit later is in the next window.
    """
    with session.transaction():
        # One snapshot for all of it: what is not visible in it stays as it is, and belongs to the next window.
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        bounds = _bounds(session)
        for shard, (mark, window) in kept.items():
            _fit_events(session, shard, window, bounds)
            _fit_windows(session, shard, mark, epochs[shard], events_max=events_max, bytes_max=bytes_max)


def unpublished(session: Session, shard: int, window: Window | None, *, most: int) -> int:
    """Return how many events `fit` would have published (again) after `window`, counted to `most`."""
    with session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        parameters = {**_bounds(session), **_within(shard, window), "most": most}
        return _number(session, UNPUBLISHED, parameters)


def _bounds(session: Session) -> dict[str, int]:
    now = _number(session, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint", {})
    bounds = {"now": now, "oldest": OLDEST}
    return bounds | {
        name: _number(session, sql, bounds) for name, sql in (("up_to", RELOADED_UP_TO), ("first", FIRST_WRITER))
    }


def _within(shard: int, window: Window | None) -> dict[str, Any]:
    s1, s2, hi = (window.s1, window.s2, window.hi) if window else (NOTHING_SEEN, NOTHING_SEEN, 0)
    return {"shard": shard, "s1": s1, "s2": s2, "hi": hi}


def _fit_events(session: Session, shard: int, window: Window | None, bounds: Mapping[str, int]) -> None:
    session.execute(FIT, {**bounds, **_within(shard, window)})


def _fit_windows(session: Session, shard: int, mark: Mark, epoch: int, *, events_max: int, bytes_max: int) -> None:
    session.execute(FORGET, {"shard": shard})
    if not mark.number:
        return
    with session.cursor(name="sizes") as cursor:
        cursor.itersize = SIZES_AT_ONCE
        ends = list(_ends(cursor.execute(SIZES, {"shard": shard}), events_max=events_max, bytes_max=bytes_max))
    # The last has no end, and there are no more than there were.
    ends = ends[:-1][-(mark.number - 1) :] if mark.number > 1 else []
    lows, highs = [0, *ends], [*ends, POSITION_MAX]
    for number, lo, hi in zip(range(mark.number - len(ends), mark.number + 1), lows, highs, strict=True):
        identity: UUID = mark.identity if number == mark.number else uuid4()
        row = {"shard": shard, "number": number, "epoch": epoch, "s1": NOTHING_SEEN, "lo": lo, "hi": hi}
        session.execute(RECORD, row | {"identity": identity})


def _ends(sizes: Iterable[tuple[int, int]], *, events_max: int, bytes_max: int) -> Iterable[int]:
    """Yield the position of the last event of each window."""
    count = total = last = 0
    for position, size in sizes:
        if count and (count == events_max or total + size > bytes_max):
            yield last
            count = total = 0
        count, total, last = count + 1, total + size, position
    if count:
        yield last


def _number(session: Session, statement: str, parameters: Mapping[str, Any]) -> int:
    row = session.execute(statement, parameters).fetchone()
    assert row is not None
    return int(row[0] or 0)
