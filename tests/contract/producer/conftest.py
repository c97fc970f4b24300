"""Both clients behind the producer's port, and a reader that looks at the topic from outside."""

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from paidonce.app.clock import new_id
from paidonce.app.settings import Settings
from paidonce.devstack.kafka import Kafka
from paidonce.workers import broker
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.broker_admin import Topics
from paidonce.workers.broker_marks import Mark, Marks
from paidonce.workers.broker_producer import AbortedError, Publisher, Record

#: Polls after which a topic that has not ended never will.
POLLS_MOST = 200
#: Attempts at a window that is aborted, with one producer; the relay makes as many before it takes a new one.
ATTEMPTS = 3


class Contract:
    """One topic, the producers of its shards, and what can be read of both."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._made: list[Publisher] = []
        self.make_topics()
        # As the relay does before its first window, so the group has a coordinator.
        assert self.read_mark() is None

    def make_topics(self) -> None:
        with Topics(self.settings) as topics:
            topics.ensure_relay_topic(self.settings.outbox_shards)
            topics.ensure([self.settings.topic])

    def publisher(self, *, fence: bool = True, **changes: Any) -> Publisher:
        self._made.append(Publisher(self.settings.model_copy(update=changes), 0))
        if fence:
            self._made[-1].fence()
        return self._made[-1]

    def publish_as_the_relay_does(self, publisher: Publisher, records: list[Record], mark: Mark) -> None:
        """An aborted window comes again: librdkafka may purge its successor, too."""
        for _ in range(ATTEMPTS - 1):
            try:
                return publisher.publish(records, mark)
            except AbortedError:
                continue
        return publisher.publish(records, mark)

    def publish_anew(self, records: list[Record], mark: Mark) -> None:
        """With a new producer; a request of an old one's that the broker finds late may fence it."""
        for _ in range(ATTEMPTS - 1):
            with suppress(BrokerAwayError):
                return self.publisher(relay_lease_s=30.0).publish(records, mark)
        return self.publisher(relay_lease_s=30.0).publish(records, mark)

    def close(self) -> None:
        for publisher in self._made:
            publisher.close()

    def record(self, value: bytes, partition: int = 0, **changes: Any) -> Record:
        usual: dict[str, Any] = {"topic": self.settings.topic, "key": b"key", "headers": []}
        return Record(partition=partition, value=value, **usual | changes)

    def mark(self, number: int) -> Mark:
        return Mark(number, new_id(), {self.settings.topic: "some id", "another": "é"})

    def read_mark(self) -> Mark | None:
        with closing(Marks(self.settings)) as marks:
            return marks.read(0)

    def read(self, isolation: str = "read_committed") -> list[Any]:
        """What a reader finds on the whole topic, partition by partition.

        Kafka answers a commit before it has told every partition; no transaction may be open.
        """
        with closing(self._reader(isolation)) as consumer, closing(self._reader("read_uncommitted")) as other:
            topic = self.settings.topic
            partitions = [TopicPartition(topic, one) for one in sorted(consumer.partitions_for_topic(topic))]
            for _ in range(POLLS_MOST):
                ends = consumer.end_offsets(partitions)
                if ends == other.end_offsets(partitions):
                    return self._read_to(consumer, ends)
            raise AssertionError("a transaction does not end")

    def _read_to(self, consumer: KafkaConsumer, ends: dict[TopicPartition, int]) -> list[Any]:
        consumer.assign(list(ends))
        found: list[Any] = []
        for _ in range(POLLS_MOST):
            if all(consumer.position(one) >= end for one, end in ends.items()):
                return sorted(found, key=lambda record: (record.partition, record.offset))
            found += [record for batch in consumer.poll(timeout_ms=200).values() for record in batch]
        raise AssertionError("the topic does not end")

    def _reader(self, isolation: str) -> KafkaConsumer:
        return KafkaConsumer(
            bootstrap_servers=self.settings.kafka,
            isolation_level=isolation,
            auto_offset_reset="earliest",
            metrics_enabled=False,
        )

    def values(self, isolation: str = "read_committed") -> list[bytes]:
        return [record.value for record in self.read(isolation)]


@pytest.fixture(params=["kafka-python", "librdkafka"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(client: str, kafka: Kafka, topic: str) -> Settings:
    """Settings for either client; the producer needs no database."""
    return Settings(kafka=kafka.bootstrap, topic=topic, relay_name=f"relay-{topic}", kafka_client=client)


@pytest.fixture
def contracts() -> type[Contract]:
    """For who needs one on a broker of its own."""
    return Contract


@pytest.fixture
def contract(settings: Settings) -> Iterator[Contract]:
    # The time limits follow the lease: a busy machine is no broker that is away.
    made = Contract(settings.model_copy(update={"relay_lease_s": 15.0}))
    yield made
    made.close()


@pytest.fixture
def hasty(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> Contract:
    """The same with time limits of a second, on a broker that knows its transactions."""
    contract.publisher()
    monkeypatch.setattr(broker, "LIMIT_LEAST_S", 1.0)
    contract.settings = contract.settings.model_copy(update={"relay_lease_s": 1.0})
    return contract
