"""What was published, as far as Kafka and the database together can say? One table, and nothing else.

The whole rule is in docs/design.md, "Relay". Kafka says the last window that it committed (its
mark), the database the windows that were recorded; `decide` compares the two.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from paidonce.app.errors import PaidonceError
from paidonce.workers.broker_marks import Mark
from paidonce.workers.windows import Window


class ShardStoppedError(PaidonceError):
    """Database and Kafka contradict each other: the shard stands still until an operator has looked."""


@dataclass(frozen=True, slots=True)
class Decision:
    """From which window on to publish."""

    #: the next window to publish; later than the newest recorded one: all were published
    next_number: int
    #: why events may come twice, for log and counter; None: none do
    twice: str | None = None
    #: whether something happened that should not
    loud: bool = False


def decide(
    mark: Mark | None,
    newest: Window | None,
    topics: Mapping[str, str],
    *,
    identity_of: Callable[[int], UUID | None],
    last_published: Callable[[], int],
) -> Decision:
    """Return what to publish next.

    `topics` are the ids of the topics as they are now, `identity_of(number)` that of a retained
    window, `last_published()` the number last marked as published in the database.

    Raises:
        ShardStoppedError: the database went back in time.
    """
    recorded = newest.number if newest else 0
    if mark is None:
        return _unknown(newest, last_published)
    if mark.number > recorded:
        raise _stopped(f"Kafka has window {mark.number}, the database only {recorded}")
    identity = identity_of(mark.number)
    if identity is not None and identity != mark.identity:
        raise _stopped(f"Kafka has window {mark.number} as {mark.identity}, the database as {identity}")
    recreated = sorted(name for name, id_ in mark.topics.items() if topics.get(name) != id_)
    if recreated:
        return Decision(1, f"topic {', '.join(recreated)} was recreated", loud=True)
    behind = recorded - mark.number
    if behind > 1:
        return Decision(mark.number + 1, f"Kafka went back in time by {behind - 1} windows", loud=True)
    return Decision(mark.number + 1)


def _unknown(newest: Window | None, last_published: Callable[[], int]) -> Decision:
    if newest is None:
        return Decision(1)
    if newest.published is not None:
        return Decision(newest.number + 1)
    next_number = last_published() + 1
    return Decision(next_number, "Kafka no longer knows what it has", loud=next_number < newest.number)


def _stopped(found: str) -> ShardStoppedError:
    return ShardStoppedError(
        f"{found}: the database went back in time (a restore, or the promotion of a standby that lagged). "
        "Nothing more is published from this shard; `paidonce outbox repair` explains and mends it (docs/operations.md)"
    )
