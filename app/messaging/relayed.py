"""In which window of the relay is an event, and is that window known to be published?

Windows are written by workers/windows.py, where it is said what they hold. Whoever only asks where an
event went stands below the workers, so that is asked here.
"""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from paidonce.app.messaging.outbox import Appended

# "This window or an earlier one holds the event" is false up to some number and true from there on: the window is
# found by halving, some twenty looks at the primary key however many windows are kept. Numbers may have gaps.
WINDOWS = """
WITH RECURSIVE search AS (
    SELECT event.*, bounds.first AS low, bounds.last + 1 AS high, bounds.first, bounds.last
      FROM unnest(%(positions)s::bigint[], %(shards)s::smallint[], %(txids)s::text[])
           AS event (position, shard, txid)
     CROSS JOIN LATERAL (
           SELECT min(number) AS first, max(number) AS last FROM relay_windows WHERE shard = event.shard) AS bounds
     WHERE bounds.first IS NOT NULL
     UNION ALL
    SELECT search.position, search.shard, search.txid,
           CASE WHEN probe.holds THEN low ELSE (low + high) / 2 + 1 END,
           CASE WHEN probe.holds THEN (low + high) / 2 ELSE high END,
           search.first, search.last
      FROM search
     CROSS JOIN LATERAL (
           SELECT pg_visible_in_snapshot(search.txid::xid8, s1)
                  OR pg_visible_in_snapshot(search.txid::xid8, s2) AND search.position <= hi AS holds
             FROM relay_windows AS one
            WHERE one.shard = search.shard AND one.number <= (low + high) / 2
            ORDER BY one.number DESC LIMIT 1) AS probe
     WHERE low < high
)
SELECT search.position, number, epoch, created_at, published, number < last,
       pg_visible_in_snapshot(txid::xid8, s1)
  FROM search JOIN relay_windows AS found ON found.shard = search.shard AND found.number = search.low
 WHERE low = high
"""


class Relayed(NamedTuple):
    """The window that holds an event."""

    number: int
    #: of the lease under which it was recorded
    epoch: int
    #: when it was recorded, before it was published
    created_at: datetime
    #: when its shard was idle after it; None says nothing
    published: datetime | None
    #: whether its shard has a later window: none is recorded before Kafka committed the one before (S6)
    is_followed: bool
    #: whether it is only the oldest that is kept, and the event was in an earlier one
    is_later: bool

    @property
    def is_published(self) -> bool:
        """Whether it is certain, from the database alone, that Kafka committed it."""
        return self.is_later or self.is_followed or self.published is not None


def windows_of(tx: Connection, events: Collection[Appended]) -> dict[int, Relayed]:
    """Return by position the window of each event that is in one."""
    wanted = {
        "positions": [one.position for one in events],
        "shards": [one.shard for one in events],
        "txids": [one.txid for one in events],
    }
    return {position: Relayed(*row) for position, *row in tx.exec_driver_sql(WINDOWS, wanted)}
