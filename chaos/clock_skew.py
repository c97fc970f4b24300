"""What if one machine's clock is wrong? The injected clock of one process is put ahead, or back, and so are its ids.

Only what asks `paidonce.app.clock` sees it, which is all of ours that decides by our own time; the
clocks of PostgreSQL, of Kafka and of the machine stay as they are.
"""

from datetime import UTC, datetime, timedelta
from time import time, time_ns
from uuid import UUID

from uuid_utils.compat import uuid7

from paidonce.app import clock


def install(seconds: float) -> None:
    """From now on this process's wall clock is so many seconds ahead; negative: behind."""
    ahead, ahead_ns = timedelta(seconds=seconds), int(seconds * 1e9)

    def now(_clock: clock.SystemClock) -> datetime:
        return datetime.now(UTC) + ahead

    def new_uuid() -> UUID:
        return uuid7(nanoseconds=time_ns() + ahead_ns)

    clock.SystemClock.now = now  # type: ignore[method-assign,assignment]  # the rig is the one that may
    clock.uuid7 = new_uuid  # type: ignore[assignment,attr-defined]


def measured_s() -> float:
    """Return the seconds by which what the product takes for the time is ahead of the machine's clock."""
    return clock.SystemClock().now().timestamp() - time()
