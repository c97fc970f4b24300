"""S15: the inbox is a cache of some seconds, and nobody compares that with how long a message can come back.

An event that is published again later than that is new, and is booked a second time.
"""

from datetime import timedelta

from sqlalchemy import Connection, delete, func

from paidonce.app.messaging import inbox
from paidonce.app.settings import Settings
from paidonce.app.tables import inbox as ours
from paidonce.app.tables import inbox_foreign as foreign
from paidonce.chaos.sabotage.patching import swap
from paidonce.workers import retention
from paidonce.workers.broker_topic import Keeps

#: "A retry comes at once or never."
KEPT = timedelta(seconds=2)


def sweep(tx: Connection, _older_than: timedelta) -> int:
    """Forget what arrived some seconds ago; return how many messages that were."""
    old = func.now() - KEPT
    return sum(tx.execute(delete(table).where(table.c.arrived_at < old)).rowcount for table in (ours, foreign))


def check_nothing(_settings: Settings, _topic: Keeps | None = None, **_more: object) -> None:
    """Take any retention."""


def take_out() -> None:
    """Keep the inbox for seconds."""
    swap(inbox, "sweep_foreign", sweep)
    swap(retention, "check", check_nothing)
