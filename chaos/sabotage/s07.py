"""S7: the events are committed, and then, in a transaction of its own, the window's number.

A relay that dies in between finds a window that Kafka knows nothing of, and publishes it again.
"""

from collections.abc import Iterable

from paidonce.chaos.sabotage.patching import swap
from paidonce.workers.broker_marks import Mark
from paidonce.workers.broker_producer import Publisher, Record


def publish(publisher: Publisher, records: Iterable[Record], mark: Mark) -> None:
    """Publish the events, then note how far we are."""
    publisher._send(records)
    publisher._commit()
    publisher._send(())
    publisher._add(mark)
    publisher._commit()


def take_out() -> None:
    """Keep the number outside the events' transaction."""
    swap(Publisher, "publish", publish)
