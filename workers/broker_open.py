"""What of a shard's transactions has Kafka left open? Looked for after fencing, before anything is sent or believed.

A broker that starts while it has to end a transaction takes partitions that have no leader yet for deleted ones:
it leaves out their markers, and calls the transaction complete (Apache Kafka 4.4, one broker or no other replica
alive). What was sent stays open on those partitions, invisible, and the next end of a transaction of the same
producer id takes it along, whatever end that is (docs/design.md, "Relay").
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog
from kafka import KafkaConsumer
from kafka.admin import AbortTransactionSpec, KafkaAdminClient
from kafka.errors import (
    AuthorizationError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
    UnsupportedVersionError,
)
from kafka.structs import TopicPartition

from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.broker import (
    RECONNECT_MOST_MS,
    BrokerAwayError,
    limit_ms,
    talking,
    transactional_id,
)
from paidonce.workers.broker_connect import connecting

#: Where Kafka keeps the offsets of groups, the relay's marks among them.
OFFSETS_TOPIC = "__consumer_offsets"


class _Admin(KafkaAdminClient):  # type: ignore[misc]  # the client has no types
    """The client's own, which of the two ends of a transaction knows the abort only."""

    def end_transaction(self, marker: AbortTransactionSpec, *, commit: bool) -> None:
        """Write a marker as `abort_transaction` does, for either end."""
        self._manager.run(self._async_end_transaction, marker, commit)

    @step("relay.end_open")
    async def _async_end_transaction(self, marker: AbortTransactionSpec, commit: bool) -> None:
        (leader,) = await self._async_get_leader_for_partitions([marker.topic_partition])
        request = self._abort_transaction_request(marker)
        request.markers[0].transaction_result = commit
        self._abort_transaction_process_response(await self._manager.send(request, node_id=leader), marker)


@dataclass(frozen=True, slots=True)
class LeftOpen:
    """One partition on which an ended transaction of ours is open."""

    topic: str
    partition: int
    producer_id: int
    #: of the producer that sent there
    epoch: int
    #: of the coordinator whose marker was last there; an older one's is refused
    coordinator: int
    #: the offset of the first record that is open
    first: int

    @property
    def is_of_marks(self) -> bool:
        """Whether it holds back a mark, not events."""
        return self.topic == OFFSETS_TOPIC

    @property
    def place(self) -> TopicPartition:
        """The partition as Kafka names it."""
        return TopicPartition(self.topic, self.partition)


class OpenTransactions:
    """A connection for questions about transactions, and for ending them."""

    def __init__(self, settings: Settings) -> None:
        """Connect; raises as `broker.talking` does."""
        self._settings = settings
        with connecting(settings) as given:
            self._admin = _Admin(
                **given,
                client_id=f"{settings.relay_name}-open",
                bootstrap_timeout_ms=limit_ms(settings),
                request_timeout_ms=limit_ms(settings),
                reconnect_backoff_max_ms=RECONNECT_MOST_MS,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._admin.close()

    def find(self, shard: int, topics: Collection[str]) -> list[LeftOpen]:
        """Return where transactions of the shard are open, which has just been fenced: so none may be.

        Empty, and a line in the log, where Kafka does not let us look (`Read` on the topics) or is too old for it.

        Raises:
            BrokerAwayError: Kafka did not answer.
        """
        with talking("look for transactions left open"):
            try:
                name = transactional_id(self._settings, shard)
                producer_id = self._admin.describe_transactions([name])[name].producer_id
                # The marks last: who may not read that topic, which is Kafka's own, still learns of the others.
                return [one for topic in [*topics, OFFSETS_TOPIC] for one in self._open_on(topic, producer_id)]
            except (AuthorizationError, UnsupportedVersionError) as error:
                structlog.get_logger().warning("cannot_look_for_open_transactions", shard=shard, error=repr(error))
                return []

    def _open_on(self, topic: str, producer_id: int) -> list[LeftOpen]:
        try:
            (described,) = self._admin.describe_topics([topic])
            places = [TopicPartition(topic, one["partition_index"]) for one in described["partitions"]]
            found = self._admin.describe_producers(places)
        except UnknownTopicOrPartitionError:
            return []
        except AuthorizationError as error:
            structlog.get_logger().warning("cannot_look_for_open_transactions", topic=topic, error=repr(error))
            return []
        return [
            LeftOpen(
                topic,
                place.partition,
                one.producer_id,
                one.producer_epoch,
                max(0, one.coordinator_epoch),
                one.current_transaction_start_offset,
            )
            for place, state in found.items()
            for one in state.active_producers
            if one.producer_id == producer_id and one.current_transaction_start_offset >= 0
        ]

    def end(self, found: Sequence[LeftOpen], *, commit: bool) -> None:
        """Write the markers that are missing: what is open becomes visible, or is gone.

        Raises:
            BrokerAwayError: Kafka did not do it, or (said in the message) does not let us.
        """
        with talking("end a transaction left open"):
            try:
                for one in found:
                    marker = AbortTransactionSpec(one.place, one.producer_id, one.epoch, one.coordinator)
                    self._admin.end_transaction(marker, commit=commit)
            except AuthorizationError as error:
                raise BrokerAwayError(
                    f"Kafka left a transaction open on {one.topic}-{one.partition}, and does not let us end it: give "
                    f"the relay the right Alter on the cluster, or end it with kafka-transactions.sh abort ({error!r})"
                ) from error

    def first_id(self, one: LeftOpen) -> str | None:
        """Return the message id of the first record that is open; None: it is no longer there."""
        with talking("read what was left open"):
            with connecting(self._settings) as given:
                consumer = KafkaConsumer(
                    **given,
                    isolation_level="read_uncommitted",
                    auto_offset_reset="none",
                    bootstrap_timeout_ms=limit_ms(self._settings),
                )
            try:
                return _first_id(consumer, one, limit_ms(self._settings))
            finally:
                consumer.close()


def _first_id(consumer: KafkaConsumer, one: LeftOpen, timeout_ms: int) -> str | None:
    consumer.assign([one.place])
    consumer.seek(one.place, one.first)
    try:
        records = consumer.poll(timeout_ms=timeout_ms, max_records=1).get(one.place, [])
    except OffsetOutOfRangeError:
        return None
    named = [value for record in records for name, value in record.headers if name == "message-id"]
    return named[0].decode() if named else None
