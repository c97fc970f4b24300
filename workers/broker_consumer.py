"""How do records come from Kafka? One member of a consumer group, which commits offsets only when told to.

The client's assignment changes only inside `poll` and `close`, so a batch that was polled is ours
until the next poll, unless Kafka gave us up meanwhile: then `still_ours` says so. Rebalancing is
cooperative (KIP-429): partitions that stay are not interrupted.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition

from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.consumer_records import Record

#: Heartbeats of one session: two may be lost.
HEARTBEATS_A_SESSION = 3
#: Milliseconds that a close may take with a broker that is away: the group notices by itself.
CLOSE_MS = 1_000
#: Bytes of one fetch and partition: a thousand events, or one of the largest.
FETCH_BYTES = 1_048_576
#: What `retention.ms=-1` amounts to in the retention arithmetic.
FOR_EVER = timedelta(days=36_500)


class BrokerAwayError(Exception):
    """Kafka did not do what we asked: nothing is lost, and the same batch comes again."""


class TopicMissingError(Exception):
    """The topic does not exist yet."""


class Source(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """A member of the group `group` on one topic."""

    def __init__(
        self, settings: Settings, *, group: str, topic: str, give_back: Callable[[Collection[int]], None]
    ) -> None:
        """Connect; `give_back(partitions)` is called on the client's own thread before partitions leave us."""
        self._topic = topic
        self._give_back = give_back
        self._generation: object = None
        #: partitions that came to us and that nobody has taken note of yet
        self.arrived: set[int] = set()
        session_ms = int(settings.consumer_session_s * 1000)
        self._consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka.split(","),
            group_id=group,
            client_id=group,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // HEARTBEATS_A_SESSION,
            max_poll_records=settings.consumer_batch,
            max_partition_fetch_bytes=FETCH_BYTES,
            metrics_enabled=False,
        )

    def subscribe(self) -> None:
        """Join the group at the next poll.

        Raises:
            TopicMissingError: there is no such topic yet.
        """
        if not self._consumer.partitions_for_topic(self._topic):
            raise TopicMissingError(f"topic {self._topic} does not exist yet: the relay makes it at its first start")
        self._consumer.subscribe([self._topic], listener=self)

    def poll(self, timeout_s: float) -> Sequence[Record]:
        """Return the next records, in order within each partition; empty after `timeout_s` without any."""
        try:
            found = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        except KafkaError as error:
            raise BrokerAwayError(f"poll: {error!r}") from error
        self._generation = self._consumer.group_metadata().generation_id
        return [record for partition in sorted(found) for record in found[partition]]

    def still_ours(self) -> bool:
        """Tell whether what the last poll returned is ours still, as far as this process knows."""
        return bool(self._consumer.group_metadata().generation_id == self._generation)

    def rewind(self, records: Sequence[Record]) -> None:
        """Let `records` come again at the next poll, those of partitions that left us excepted."""
        first: dict[int, int] = {}
        for record in records:
            first[record.partition] = min(record.offset, first.get(record.partition, record.offset))
        assigned = self._consumer.assignment()
        for partition, offset in first.items():
            if TopicPartition(self._topic, partition) in assigned:
                self._consumer.seek(TopicPartition(self._topic, partition), offset)

    @step("consumer.commit_offsets")
    def commit_offsets(self, offsets: Mapping[int, int]) -> None:
        """Commit the next offset of each partition.

        Raises:
            BrokerAwayError: it was not committed, or nobody knows; the batch may come again.
        """
        named = {TopicPartition(self._topic, one): OffsetAndMetadata(offset, "", -1) for one, offset in offsets.items()}
        try:
            self._consumer.commit(named, timeout_ms=self._consumer.config["session_timeout_ms"])
        except KafkaError as error:
            raise BrokerAwayError(f"commit of offsets: {error!r}") from error

    def stay(self) -> None:
        """Remain a member of the group without reading anything."""
        self._consumer.pause(*self._consumer.assignment())
        self.rewind(self.poll(0))

    def close(self) -> None:
        """Give the partitions back and leave the group."""
        try:
            self._consumer.close(timeout_ms=CLOSE_MS)
        except KafkaError as error:
            structlog.get_logger().warning("left the group without a word", error=repr(error))

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take note of partitions that came to us (called by the client)."""
        self.arrived |= {one.partition for one in assigned}

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Give partitions back: no batch is under way here, they are revoked inside a poll only."""
        gone = {one.partition for one in revoked}
        self.arrived -= gone
        self._give_back(gone)

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Forget partitions that Kafka gave to others because we were silent too long."""
        self.on_partitions_revoked(lost)


def topic_times(settings: Settings, topic: str) -> tuple[timedelta, timedelta]:
    """Return the topic's own `retention.ms` and `segment.ms`; a century for a topic that forgets nothing.

    Raises:
        BrokerAwayError: Kafka did not answer.
    """
    try:
        admin = KafkaAdminClient(bootstrap_servers=settings.kafka.split(","))
        try:
            found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        finally:
            admin.close()
    except KafkaError as error:
        raise BrokerAwayError(f"configuration of topic {topic}: {error!r}") from error
    options = found["topic"][topic]
    return _length(options["retention.ms"]["value"]), _length(options["segment.ms"]["value"])


def _length(milliseconds: str) -> timedelta:
    return min(timedelta(milliseconds=int(milliseconds)), FOR_EVER) if int(milliseconds) >= 0 else FOR_EVER
