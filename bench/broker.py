"""Which Kafka is measured, and how far could a `read_committed` reader read at each moment?

The watcher reads no record: it asks for the last stable offset of each partition, which costs
next to nothing beside what is measured. What was there to read is counted afterwards.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic, sleep, time
from typing import Any

from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient
from kafka.structs import TopicPartition

from paidonce.app.settings import Settings
from paidonce.bench.errors import BenchError
from paidonce.bench.meters import Meter
from paidonce.devstack.kafka import Kafka, start_kafka
from paidonce.devstack.runs import Run

#: Seconds between two looks at the offsets: a hundredth of the shortest thing measured so.
LOOK_S = 0.01
#: Seconds between two looks at memory and CPU.
METER_S = 0.1
#: Seconds without anything new after which a topic counts as quiet: several times the longest transaction.
QUIET_S = 1.0
#: Milliseconds of one poll while a topic is read to its end.
POLL_MS = 500
#: Polls for a record that is there: the first ones may only find out where.
POLLS = 10


@dataclass
class Series:
    """How far a topic could be read, over time."""

    #: (monotonic seconds, sum of the last stable offsets) whenever it had grown
    ends: list[tuple[float, int]] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The newest sum."""
        return self.ends[-1][1] if self.ends else 0

    def when(self, end: int) -> float:
        """Return the moment (monotonic seconds) at which the sum was `end` or more.

        Raises:
            BenchError: it never was.
        """
        for moment, reached in self.ends:
            if reached >= end:
                return moment
        raise BenchError(f"the topic's offsets reached {self.last}, not {end}")


#: Asked after each look.
IsOver = Callable[[Series], bool]


class Watcher:
    """Asks a broker about one topic that exists."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = _reader(bootstrap)
        self._partitions = partitions(self._consumer, topic)

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(self, *_error: object) -> None:
        self._consumer.close()

    def ends(self) -> dict[int, int]:
        """Return each partition's last stable offset."""
        found = self._consumer.end_offsets(self._partitions)
        return {place.partition: offset for place, offset in found.items()}

    def first_sent(self, offsets: dict[int, int]) -> float:
        """Return when the earliest record at or after these offsets was sent, by its own timestamp; monotonic seconds.

        Raises:
            BenchError: there is none.
        """
        ends = self.ends()
        grown = [place for place in self._partitions if ends[place.partition] > offsets.get(place.partition, 0)]
        sent = [self._first(place, offsets.get(place.partition, 0)) for place in grown]
        earliest = min((one for one in sent if one is not None), default=None)
        if earliest is None:
            raise BenchError("nothing was published")
        return earliest / 1000 - time() + monotonic()

    def _first(self, place: TopicPartition, offset: int) -> int | None:
        """Return the timestamp of the partition's first record from there on, in ms; None: there is but a marker."""
        self._consumer.assign([place])
        self._consumer.seek(place, offset)
        for _ in range(POLLS):
            for found in self._consumer.poll(timeout_ms=POLL_MS, max_records=1).values():
                return int(found[0].timestamp)
        return None

    def watch(self, is_over: IsOver, *, within_s: float, what: str, meters: tuple[Meter, ...] = ()) -> Series:
        """Look until `is_over`, asked after each look; raises BenchError when that takes longer than `within_s`."""
        series = Series()
        end, meter_at = monotonic() + within_s, 0.0
        while True:
            reached, now = sum(self.ends().values()), monotonic()
            if reached > series.last or not series.ends:
                series.ends.append((now, reached))
            if now >= meter_at:
                meter_at = now + METER_S
                for meter in meters:
                    meter.look()
            if is_over(series):
                return series
            if now > end:
                raise BenchError(f"waited {within_s:g} s in vain for {what}: {series.last} offsets are readable")
            sleep(LOOK_S)


def quiet(at_least: int, *, quiet_s: float = QUIET_S) -> IsOver:
    """Return an `is_over`: so many offsets are readable, and for `quiet_s` no more came."""
    return lambda series: series.last >= at_least and monotonic() - series.ends[-1][0] > quiet_s


def start(run: Run) -> Kafka:
    """Return the broker that PAIDONCE_KAFKA names, or a fresh one, compiled for throughput."""
    settings = Settings()
    if "kafka" in settings.model_fields_set:
        return Kafka(settings.kafka)
    return start_kafka(run, quick=False)


def make_topic(bootstrap: str, name: str) -> None:
    """Make a topic as the relay would make it."""
    day_ms, settings = 86_400_000, Settings()
    configs = {
        "retention.ms": str(settings.topic_retention_d * day_ms),
        "segment.ms": str(settings.topic_segment_d * day_ms),
    }
    wanted = {name: {"num_partitions": settings.topic_partitions, "replication_factor": 1, "configs": configs}}
    with _admin(bootstrap) as admin:
        admin.create_topics(wanted, wait_for_metadata=True)


def remove_topic(bootstrap: str, name: str) -> None:
    """Remove a topic: a run would fill the disk with what it has measured already."""
    with _admin(bootstrap) as admin:
        admin.delete_topics([name])


def records(bootstrap: str, topic: str) -> Iterator[Any]:
    """Yield every record that is readable now, partition by partition's order."""
    consumer = _reader(bootstrap, max_poll_records=5_000, max_partition_fetch_bytes=4_194_304)
    try:
        places = partitions(consumer, topic)
        ends = consumer.end_offsets(places)
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        while any(consumer.position(place) < ends[place] for place in places):
            for found in consumer.poll(timeout_ms=POLL_MS).values():
                yield from found
    finally:
        consumer.close()


def check_exactly_once(bootstrap: str, topic: str, events: int) -> None:
    """Hold the topic to `events` events, each once, those of a key in order.

    Raises:
        BenchError: it is otherwise, so what was measured is not what is promised.
    """
    copies: Counter[bytes] = Counter()
    last: dict[bytes, int] = {}
    for record in records(bootstrap, topic):
        headers = dict(record.headers)
        copies[headers["message-id"]] += 1
        sequence = int(headers["ce_sequence"])
        if sequence <= last.get(record.key, 0):
            raise BenchError(f"{topic}: event {sequence} of {record.key!r} comes after event {last[record.key]}")
        last[record.key] = sequence
    if len(copies) != events or copies.total() != events:
        raise BenchError(f"{topic} has {copies.total()} records of {len(copies)} events, not {events} of as many")


def partitions(consumer: Any, topic: str) -> list[TopicPartition]:
    """Return the topic's partitions; raises BenchError when there is no such topic."""
    found = consumer.partitions_for_topic(topic)
    if not found:
        raise BenchError(f"there is no topic {topic}")
    return [TopicPartition(topic, number) for number in sorted(found)]


def _reader(bootstrap: str, **options: Any) -> Any:
    return KafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        isolation_level="read_committed",
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        metrics_enabled=False,
        **options,
    )


class _admin:  # noqa: N801  a function that is a context
    def __init__(self, bootstrap: str) -> None:
        self._client = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *_error: object) -> None:
        self._client.close()
