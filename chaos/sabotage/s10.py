"""S10: the inbox knows a message by its topic, partition and offset.

An event that is published again has another offset, so it is new, and is booked a second time.
"""

from paidonce.app.messaging.handlers import Subscriber
from paidonce.chaos.sabotage.patching import swap
from paidonce.workers import consumer_member
from paidonce.workers.consumer_records import Arrival, Record, read


def read_by_place(record: Record, subscriber: Subscriber) -> Arrival:
    """Return the record under its place on the topic."""
    return read(record, subscriber)._replace(message_id=f"{record.topic}:{record.partition}:{record.offset}")


def take_out() -> None:
    """Let the place be the key."""
    swap(consumer_member, "read", read_by_place)
