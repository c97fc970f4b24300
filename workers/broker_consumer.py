"""How do records come from Kafka? One member of a consumer group, which commits offsets only when told to.

The client's assignment changes only inside `poll` and `close`, so a batch that was polled is ours
until the next poll, unless Kafka gave us up meanwhile: then `still_ours` says so. Rebalancing is
cooperative (KIP-429): partitions that stay are not interrupted.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic
from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CorruptRecordError, KafkaError, RebalanceInProgressError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata, TopicPartition

from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.broker import METADATA_MOST_MS, RECONNECT_MOST_MS, BrokerAwayError, talking
from paidonce.workers.broker_connect import connecting
from paidonce.workers.broker_selector import Selector
from paidonce.workers.consumer_records import Record

#: Heartbeats of one session: two may be lost.
HEARTBEATS_A_SESSION = 3
#: Milliseconds that any request may take, at least: a fetch waits half a second for records.
REQUEST_LEAST_MS = 2_000
#: Milliseconds that a close may take with a broker that is away: the group notices by itself.
CLOSE_MS = 1_000
#: Bytes of one fetch and partition, at least: one of the largest events.
FETCH_BYTES_LEAST = 1_048_576
#: Bytes of a payment's event with its headers: what one partition may have to give for a whole batch.
EVENT_BYTES = 1_024


class TopicMissingError(Exception):
    """The topic does not exist yet."""


class NotMemberError(BrokerAwayError):
    """We are not in the group, or not in what it has become: poll, and it should be so again."""


class UnreadableRecordError(Exception):
    """The client cannot take a record apart: it is broken on disk, or has a header whose name is not UTF-8.

    Nothing mends that by waiting, and the client must not be asked again: it would spin.
    """


class Source(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """A member of the group `group` on one topic."""

    def __init__(
        self, settings: Settings, *, group: str, topic: str, give_back: Callable[[Collection[int]], None]
    ) -> None:
        """Nothing is connected before `subscribe`.

        `give_back(partitions)` is called on the client's own thread before partitions leave us.
        """
        self._settings, self._group, self._topic = settings, group, topic
        self._give_back = give_back
        self._generation: object = None
        #: since when others contradict what this member believes of the group; None: nobody does
        self._doubted_since: float | None = None
        #: since when no broker answers for the group; None: one does
        self._silent_since: float | None = None
        #: partitions that came to us and that nobody has taken note of yet
        self.arrived: set[int] = set()
        #: changes of the group that we saw so far
        self.rebalances = 0
        #: a KafkaConsumer; None: not connected
        self._consumer: Any = None

    def _connect(self) -> KafkaConsumer:
        settings = self._settings
        session_ms = int(settings.consumer_session_s * 1000)
        # A broker that is silent for a session has given our place away; waiting on helps nobody (default: 30 s).
        limit_ms = max(REQUEST_LEAST_MS, session_ms)
        with connecting(settings) as given:
            return KafkaConsumer(
                **given,
                bootstrap_timeout_ms=limit_ms,
                group_id=self._group,
                client_id=self._group,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                partition_assignment_strategy=(CooperativeStickyAssignor,),
                session_timeout_ms=session_ms,
                heartbeat_interval_ms=session_ms // HEARTBEATS_A_SESSION,
                request_timeout_ms=limit_ms,
                reconnect_backoff_max_ms=RECONNECT_MOST_MS,
                metadata_max_age_ms=METADATA_MOST_MS,
                max_poll_records=settings.consumer_batch,
                max_partition_fetch_bytes=max(FETCH_BYTES_LEAST, settings.consumer_batch * EVENT_BYTES),
                metrics_enabled=False,
                selector=Selector,
            )

    def subscribe(self) -> None:
        """Connect, and join the group at the next poll.

        Raises:
            TopicMissingError: there is no such topic yet.
            ConfigurationError: Kafka will never let us.
            BrokerAwayError: not now; try again.
        """
        if self._consumer is None:
            self._consumer = self._connect()
        # In this order: of partitions that it learnt before it subscribed, kafka-python 3.0.12 sees none when it makes
        # its first assignment, joins again at once, and hangs where that outlasts a poll.
        self._consumer.subscribe([self._topic], listener=self)
        with talking(f"learn the partitions of topic {self._topic}"):
            try:
                found = self._consumer.partitions_for_topic(self._topic)
            except UnknownTopicOrPartitionError:
                # What it says of the subscription's own question, where that is still under way.
                found = None
        if not found:
            raise TopicMissingError(f"topic {self._topic} does not exist yet: the relay makes it at its first start")

    def doubt(self) -> None:
        """Note that our place in the group is not what we believe; after a session of that, begin as a newcomer.

        The client can lose its place for good: it sends no heartbeats, and no poll makes it join again.
        """
        self._doubted_since = self._doubted_since or monotonic()
        if monotonic() < self._doubted_since + self._settings.consumer_session_s:
            return
        structlog.get_logger().warning("left and joining the group anew", group=self._group)
        self.close()
        self._consumer = self._doubted_since = None
        self.arrived.clear()
        self.subscribe()

    def poll(self, timeout_s: float, *, most: int | None = None) -> Sequence[Record]:
        """Return the next records, in order within each partition; empty after `timeout_s` without any.

        At most `most`, and by default as many as the settings allow.

        Raises:
            BrokerAwayError: not now; ask again. (So may what `subscribe` raises, after a `doubt` that found nobody.)
            UnreadableRecordError: end this process.
        """
        if self._consumer is None:
            self.subscribe()
        try:
            found = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=most)
        except CorruptRecordError as error:
            raise UnreadableRecordError(f"{error}; one of {self._places()}: see docs/operations.md") from error
        except KafkaError as error:
            raise BrokerAwayError(f"poll: {error!r}") from error
        generation = self._consumer.group_metadata().generation_id
        self.rebalances += generation != self._generation
        self._generation = generation
        if not found:
            self._check_answers()
        return [record for partition in sorted(found) for record in found[partition]]

    def _check_answers(self) -> None:
        """Raise BrokerAwayError after a session without the group's coordinator: the client's own poll only waits."""
        if not self._consumer._coordinator.coordinator_unknown():  # noqa: SLF001  nothing else of it tells
            self._silent_since = None
            return
        self._silent_since = self._silent_since or monotonic()
        if monotonic() > self._silent_since + self._settings.consumer_session_s:
            raise BrokerAwayError("no broker answers for the group")

    def _places(self) -> str:
        """Name the next record of each partition that has one, as far as a fetch has told."""
        behind = [one for one, records in self.lag().items() if records]
        places = (TopicPartition(self._topic, one) for one in sorted(behind))
        return ", ".join(f"{self._topic}[{one.partition}]@{self._consumer.position(one)}" for one in places)

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
            NotMemberError: it was not, because we are joining the group, as far as the client knows.
        """
        named = {TopicPartition(self._topic, one): OffsetAndMetadata(offset, "", -1) for one, offset in offsets.items()}
        try:
            self._consumer.commit(named, timeout_ms=self._consumer.config["session_timeout_ms"])
        except RebalanceInProgressError as error:
            raise NotMemberError(f"commit of offsets: {error!r}") from error
        except KafkaError as error:
            raise BrokerAwayError(f"commit of offsets: {error!r}") from error
        self._doubted_since = None

    def lag(self) -> dict[int, int]:
        """Return partition -> records behind its end, as far as a fetch has told; asks nobody."""
        found: dict[int, int] = {}
        for one in self._consumer.assignment() if self._consumer is not None else ():
            end = self._consumer.highwater(one)
            # A partition that was fetched has a position, so this answers from memory.
            if end is not None:
                found[one.partition] = max(0, end - self._consumer.position(one, timeout_ms=0))
        return found

    def stay(self, timeout_s: float) -> None:
        """Remain a member of the group for `timeout_s` without reading anything, until `go_on`."""
        if self._consumer is not None:
            self._consumer.pause(*self._consumer.assignment())
        self.rewind(self.poll(timeout_s))

    def go_on(self) -> None:
        """Read again."""
        if self._consumer is not None:
            self._consumer.resume(*self._consumer.paused())

    def close(self) -> None:
        """Give the partitions back and leave the group."""
        if self._consumer is None:
            return
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
