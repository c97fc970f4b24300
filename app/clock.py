"""What time is it? Injected wherever our own time decides, so that tests set it.

Leases do not use this clock: they live on the database's (docs/design.md, "Leases").
"""

import time
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from uuid_utils.compat import uuid7


class Clock(Protocol):
    """The two clocks of a process."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean something."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean something."""
        return time.monotonic()


def new_id() -> UUID:
    """Return a new UUIDv7 (RFC 9562): it sorts by time, and the inbox is partitioned by that time."""
    return uuid7()
