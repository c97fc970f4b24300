"""S5: the relay reads what lies above the last position that it has published.

Positions are given out in the order of the INSERTs, and become visible in that of the COMMITs: an event whose
transaction commits late is below the last position by then, and is never sent.
"""

from typing import Any
from uuid import uuid4

from paidonce.chaos.sabotage.patching import swap
from paidonce.workers import spans, windows
from paidonce.workers.leases import Lease, Session
from paidonce.workers.relay_shard import Shard
from paidonce.workers.stored import Stored, cut
from paidonce.workers.windows import Window

ABOVE = f"{spans.ROW} FROM outbox WHERE shard = %(shard)s AND position > %(last)s ORDER BY position LIMIT %(most)s"
NOW = "SELECT pg_current_snapshot()::text"


def record_above(
    session: Session, lease: Lease, shard: int, newest: Window | None, *, events_max: int, bytes_max: int, **_: Any
) -> tuple[Window, list[Stored]] | None:
    """Record the next events above the last window's last position."""
    last, number = (newest.hi, newest.number) if newest else (0, 0)
    with session.transaction():
        rows = spans._read(session, ABOVE, {"shard": shard, "last": last, "most": events_max + 1})
        if not rows:
            return None
        events = cut(rows, events_max=events_max, bytes_max=bytes_max).events
        seen = spans._one(session, NOW, {})[0]
        hi = events[-1].position
        window = Window(shard, number + 1, lease.epoch, spans.NOTHING_SEEN, seen, last, hi, uuid4(), None)
        windows._record(session, lease, window)
    return window, events


def read_nothing_ahead(_shard: Shard, _session: Session) -> None:
    """Leave the next events to the next window."""


def take_out() -> None:
    """Read `position > last`."""
    swap(windows, "record_next", record_above)
    swap(Shard, "read_ahead", read_nothing_ahead)
