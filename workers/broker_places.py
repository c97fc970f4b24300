"""Where on its topic is a message? Looked for from the time of its sending on, among so many records and no more."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from paidonce.app.messaging.envelope import MalformedMessageError, decode
from paidonce.app.settings import Settings
from paidonce.app.trail.facts import Missing, Place
from paidonce.workers.broker import BrokerAwayError, bootstrap, limit_ms, talking
from paidonce.workers.murmur2 import POSITIVE, hashes

#: A record is sent after its window was recorded, on another machine's clock.
BEFORE = timedelta(seconds=10)
#: Records looked at for one message: about a second, and a minute of a partition that gets 1,500 a second.
RECORDS_MAX = 100_000
#: Seconds that the whole look may take: a person waits for it.
LOOK_S = 20.0
#: Milliseconds of one poll in it.
POLL_MS = 200


def look(
    settings: Settings, topic: str, key: str, sent: Mapping[UUID, datetime], *, partitions: int | None
) -> dict[UUID, Place | Missing]:
    """Return where the messages of one key are on `topic`; `sent` says from when on each may have been sent.

    `partitions` is the count that the key's partition was computed with; None: as many as there are.

    Raises:
        ConfigurationError: Kafka will never tell.
        BrokerAwayError: Kafka did not answer in time.
    """
    with talking(f"look for messages on topic {topic}"), _reader(settings) as reader:
        count = partitions or len(reader.partitions_for_topic(topic) or ())
        if not count:
            return dict.fromkeys(sent, Missing("not_found", 0))
        looking = _Looking(reader, TopicPartition(topic, (hashes([key.encode()])[0] & POSITIVE) % count))
        for message_id, at in sorted(sent.items(), key=lambda one: one[1]):
            looking.find(message_id, at - BEFORE)
        return {message_id: looking.found[message_id] for message_id in sent}


class _Looking:
    """A look along one partition."""

    def __init__(self, reader: KafkaConsumer, place: TopicPartition) -> None:
        self._reader, self._place = reader, place
        reader.assign([place])
        self._first = reader.beginning_offsets([place])[place]
        self._end = reader.end_offsets([place])[place]
        self._deadline = monotonic() + LOOK_S
        #: every message that was seen, and those that were looked for in vain
        self.found: dict[UUID, Place | Missing] = {}

    def find(self, message_id: UUID, start: datetime) -> None:
        """Read on from `start` until the message comes, or enough others have, unless it was seen already."""
        if isinstance(self.found.get(message_id), Place):
            return
        first = self._reader.offsets_for_times({self._place: int(start.timestamp() * 1000)})[self._place]
        if first is None:
            self.found[message_id] = Missing("not_found", 0)
            return
        self._reader.seek(self._place, first.offset)
        records = 0
        while records < RECORDS_MAX and self._reader.position(self._place) < self._end:
            batch = self._poll()
            records += len(batch)
            self.found |= _places(batch)
            if isinstance(self.found.get(message_id), Place):
                return
        # The partition begins later than the message was sent, by more than clocks differ: it was there once.
        removed = first.offset == self._first > 0 and _time_at(first.timestamp) > start + 2 * BEFORE
        self.found[message_id] = Missing("removed" if removed else "not_found", records)

    def _poll(self) -> Sequence[ConsumerRecord]:
        if monotonic() > self._deadline:
            raise BrokerAwayError(f"the look took longer than {LOOK_S:g} s")
        found: Sequence[ConsumerRecord] = self._reader.poll(timeout_ms=POLL_MS).get(self._place, ())
        return found


def _places(records: Collection[ConsumerRecord]) -> dict[UUID, Place]:
    found: dict[UUID, Place] = {}
    for record in records:
        id_ = _message_id(record)
        if id_ is not None:
            found.setdefault(id_, Place(record.partition, record.offset, _time(record)))
    return found


def _message_id(record: ConsumerRecord) -> UUID | None:
    """Return the record's message id where it is one of ours."""
    try:
        return UUID(decode(record.key, record.value, record.headers).message_id)
    except (MalformedMessageError, ValueError):
        return None


def _time(record: ConsumerRecord) -> datetime:
    return _time_at(record.timestamp)


def _time_at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@contextmanager
def _reader(settings: Settings) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        auto_offset_reset="earliest",
        bootstrap_timeout_ms=limit_ms(settings),
        metrics_enabled=False,
    )
    try:
        yield consumer
    finally:
        consumer.close(autocommit=False)
