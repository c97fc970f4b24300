"""What does a consumer measure? Served at /metrics of its process (docs/operations.md, "Consumers")."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter(
    "paidonce_consumer_messages_total",
    "Messages by what became of them: done (passed over included), duplicate (absorbed by the inbox), parked, poison.",
    ["consumer", "outcome"],
)
BATCH = Histogram(
    "paidonce_consumer_batch_messages",
    "Messages of one transaction.",
    ["consumer"],
    buckets=(1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_000, 5_000),
)
LAG = Gauge(
    "paidonce_consumer_lag_records",
    "Records behind the end of the partition, as the client knows it; partitions of this member only.",
    ["consumer", "partition"],
)
REDELIVERED = Counter(
    "paidonce_consumer_redelivered_total",
    "Records that come again because their transaction or their offset's commit failed.",
    ["consumer"],
)
REBALANCES = Counter("paidonce_consumer_rebalances_total", "Changes of the group that this member saw.", ["consumer"])
PARKED = Gauge("paidonce_consumer_parked_messages", "Messages that wait for a later attempt.", ["consumer"])
DEAD = Gauge("paidonce_consumer_dead_letters", "Dead letters that wait for somebody's decision.", ["consumer"])
BRAKE = Gauge("paidonce_consumer_brake_engaged", "1 while the consumer stands still, else 0.", ["consumer"])


@dataclass(slots=True)
class Tally:
    """What became of the messages of one transaction."""

    #: messages that are behind us, fewer than the batch has when the brake engaged
    count: int = 0
    done: int = 0
    duplicate: int = 0
    parked: int = 0
    poison: int = 0


class Meter:
    """The metrics of one consumer."""

    def __init__(self, consumer: str) -> None:
        """Every series is there from the start, at zero."""
        self._consumer = consumer
        self._messages = {one: MESSAGES.labels(consumer, one) for one in ("done", "duplicate", "parked", "poison")}
        self._batch, self._redelivered = BATCH.labels(consumer), REDELIVERED.labels(consumer)
        self._rebalances, self._brake = REBALANCES.labels(consumer), BRAKE.labels(consumer)
        self._parked, self._dead = PARKED.labels(consumer), DEAD.labels(consumer)
        self._partitions: set[int] = set()

    def committed(self, tally: Tally) -> None:
        """Count a transaction that was committed."""
        self._batch.observe(tally.count)
        for outcome, series in self._messages.items():
            series.inc(getattr(tally, outcome))

    def redelivered(self, records: int) -> None:
        """Count records that come again."""
        self._redelivered.inc(records)

    def brake(self, *, engaged: bool) -> None:
        """Say whether the consumer stands still."""
        self._brake.set(engaged)

    def waiting(self, *, parked: int, dead: int) -> None:
        """Say how many messages wait, for a later attempt and for a person."""
        self._parked.set(parked)
        self._dead.set(dead)

    def group(self, *, lag: Mapping[int, int], rebalances: int) -> None:
        """Say partition -> lag of what is ours now, and count rebalances since the last call."""
        for partition in self._partitions - set(lag):
            LAG.remove(self._consumer, str(partition))
        for partition, records in lag.items():
            LAG.labels(self._consumer, str(partition)).set(records)
        self._partitions = set(lag)
        self._rebalances.inc(rebalances)
