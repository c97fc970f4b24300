"""How does what Kafka left open of a shard's transactions end? As Kafka's mark has it: with its window, or not at all.

Decided after fencing, before the mark is believed and anything is sent (docs/design.md, "Relay").
"""

from collections.abc import Callable

import structlog
from prometheus_client import Counter

from paidonce.app.settings import Settings
from paidonce.workers import windows
from paidonce.workers.broker_marks import Mark
from paidonce.workers.broker_open import LeftOpen, OpenTransactions
from paidonce.workers.leases import Session

LEFT_OPEN = Counter(
    "paidonce_relay_partitions_left_open_total",
    "Partitions on which Kafka had left a transaction open, by how the relay ended it: committed or aborted.",
    ["shard", "end"],
)


def find(settings: Settings, shard: int, topics: set[str]) -> list[LeftOpen]:
    """Return what is open of the shard, which has just been fenced; raises as `OpenTransactions.find` does."""
    with OpenTransactions(settings) as transactions:
        return transactions.find(shard, topics)


def end(settings: Settings, shard: int, found: list[LeftOpen], is_published: Callable[[str], bool]) -> None:
    """End what is open; `is_published(message_id)` says whether Kafka's mark has that event published.

    While the mark itself is open, its window counts as not published, and neither do its events.
    Otherwise an event that is open is committed when the mark covers it, like its neighbours on other
    partitions, and when nobody knows any more: it may come twice, but is not lost.

    Raises:
        BrokerAwayError: Kafka did not answer, or does not let us.
    """
    with OpenTransactions(settings) as transactions:
        if any(one.is_of_marks for one in found):
            committed = []
        else:
            firsts = {one: transactions.first_id(one) for one in found}
            committed = [one for one, id_ in firsts.items() if id_ is not None and is_published(id_)]
        aborted = [one for one in found if one not in committed]
        transactions.end(committed, commit=True)
        # The marks last: while one is open, the next owner finds it so and decides the same.
        transactions.end(sorted(aborted, key=lambda one: one.is_of_marks), commit=False)
    _tell(shard, committed, "committed")
    _tell(shard, aborted, "aborted")


def is_published(session: Session, shard: int, mark: Mark | None, message_id: str) -> bool:
    """Tell whether the event is in the window of the mark or an earlier one; True when nobody knows."""
    window = windows.first_from(session, shard, mark.number) if mark else None
    if mark is None or window is None or window.number != mark.number:
        return mark is not None
    return windows.covers(session, window, message_id)


def _tell(shard: int, ended: list[LeftOpen], how: str) -> None:
    if ended:
        places = [f"{one.topic}-{one.partition}" for one in ended]
        structlog.get_logger().error("transaction_was_left_open", shard=shard, end=how, partitions=places)
        LEFT_OPEN.labels(shard, how).inc(len(ended))
