"""How does librdkafka publish a window? The extra `librdkafka`, in C: several times as quick, and every call bounded.

Only imported when PAIDONCE_KAFKA_CLIENT chooses it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers.aside import Call, LeftBehindError
from paidonce.workers.broker import (
    LINGER_MS,
    MEND_USER,
    RECONNECT_MOST_MS,
    REQUEST_BYTES_MAX,
    RETRY_BACKOFF_MS,
    BrokerAwayError,
    batch_bytes,
    limit_ms,
    transactional_id,
)
from paidonce.workers.broker_librdkafka_log import Log
from paidonce.workers.broker_marks import Mark
from paidonce.workers.broker_producer import Record, TooLargeError
from paidonce.workers.broker_refusals import why
from paidonce.workers.broker_security import of_librdkafka

#: Records that wait in the client at once; when it is full, what was acknowledged makes room.
QUEUE_RECORDS_MAX = 100_000
#: Seconds between attempts when it is full.
ROOM_S = 0.01
#: Seconds between looks for a record that failed; the last one's acknowledgement ends the wait at once.
LOOK_S = 0.05
#: The client insists that a request's time limit is so much shorter than the transaction's.
LIMIT_MARGIN_MS = 100

#: What no back-off mends, as `broker.HOPELESS` has it for kafka-python.
HOPELESS = {
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._INVALID_ARG,  # noqa: SLF001  the client's own codes are public by that name
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
}
#: A user, a password or a way to show them that Kafka does not take, as `broker.NOT_TAKEN` has it.
NOT_TAKEN = {
    KafkaError.ILLEGAL_SASL_STATE,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError._AUTHENTICATION,  # noqa: SLF001
}
#: What says only that the transaction has failed already.
CONSEQUENCES = {
    KafkaError._PURGE_INFLIGHT,  # noqa: SLF001
    KafkaError._PURGE_QUEUE,  # noqa: SLF001
    KafkaError._STATE,  # noqa: SLF001
}
TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}


@contextmanager
def talking(to_do: str) -> Iterator[None]:
    """Turn the client's errors into ours: TooLargeError, ConfigurationError, BrokerAwayError."""
    try:
        yield
    except KafkaException as error:
        raise ours(error.args[0], to_do) from error
    except SystemError as error:
        # The binding loses a fatal error (another producer's fence, for one) when a log line follows it.
        raise BrokerAwayError(f"could not {to_do}: the client failed for good, and its log says why") from error


def ours(error: KafkaError, to_do: str) -> Exception:
    """Return our error for the client's."""
    if error.code() in TOO_LARGE:
        return TooLargeError(str(error))
    if error.code() in NOT_TAKEN:
        return ConfigurationError(f"Kafka refuses us: {error}: {MEND_USER}")
    if error.code() in HOPELESS:
        return ConfigurationError(f"Kafka refuses to {to_do}: {error} (PAIDONCE_KAFKA)")
    return BrokerAwayError(f"could not {to_do}: {error}")


class Librdkafka:
    """A shard's producer (paidonce.workers.broker_producer.Client)."""

    def __init__(self, settings: Settings, shard: int) -> None:
        """Make the client, which connects by itself later; raises ConfigurationError."""
        self._settings = settings
        self._shard = shard
        self._limit_s = limit_ms(settings) / 1000
        self._log = Log()
        self._failed: KafkaError | None = None
        #: why Kafka does not take our user; the client itself would go on trying
        self._not_taken: KafkaError | None = None
        #: Whether an EndTxn was sent more than once, or the client did not say that it was answered at once.
        self.worn = False
        with talking("make a producer"):
            self._group = _group(settings.relay_name)
            self._producer: Producer | None = Producer(self._options(settings, shard), logger=self._log)

    def _options(self, settings: Settings, shard: int) -> dict[str, object]:
        limit = limit_ms(settings)
        return {
            **of_librdkafka(settings),
            "error_cb": self._on_error,
            "client.id": transactional_id(settings, shard),
            "transactional.id": transactional_id(settings, shard),
            "enable.idempotence": True,
            "acks": "all",
            "allow.auto.create.topics": False,
            "batch.size": batch_bytes(settings),
            "linger.ms": LINGER_MS,
            "retry.backoff.ms": RETRY_BACKOFF_MS,
            "reconnect.backoff.max.ms": RECONNECT_MOST_MS,
            "message.max.bytes": REQUEST_BYTES_MAX,
            "queue.buffering.max.messages": QUEUE_RECORDS_MAX,
            "delivery.timeout.ms": limit,
            "transaction.timeout.ms": limit,
            "socket.timeout.ms": min(limit // 2, limit - LIMIT_MARGIN_MS),
            "topic.metadata.propagation.max.ms": limit,
            # Each delivery is reported; the binding passes on those that failed, and `flush` tells when all are in.
            "delivery.report.only.error": True,
            "on_delivery": self._on_delivery,
            # Says what became of each EndTxn: some 40 lines a transaction, which `Log` sifts.
            "debug": "eos",
        }

    def fence(self) -> None:
        """Make every earlier producer of the shard powerless."""
        producer, to_do = self._open(), "take over a shard"
        try:
            with talking(to_do):
                # Without a connection the client would look for its coordinator only every half second.
                producer.list_topics(self._settings.relay_name, self._limit_s)
                producer.init_transactions(self._limit_s)
        except BrokerAwayError as error:
            producer.poll(0)  # hands over what it could not tell by the calls
            if self._not_taken is not None:
                raise ours(self._not_taken, to_do) from error
            if reason := why(self._settings):
                raise BrokerAwayError(f"could not {to_do}: {reason}") from error
            raise

    def send(self, records: Iterable[Record]) -> None:
        """Begin a transaction; return when each record is acknowledged."""
        producer, self._failed = self._open(), None
        with talking("publish a window"):
            producer.begin_transaction()
            try:
                self._produce(producer, records)
                waiting = self._wait(producer)
            except KafkaException as error:
                producer.poll(0)
                self._fail(error.args[0])
            if self._failed is not None:
                raise self._cause(producer, self._failed)
        if waiting:
            raise BrokerAwayError(f"could not publish a window: {waiting} records unacknowledged")

    def add(self, mark: Mark) -> None:
        """Let the mark become the shard's when the transaction commits."""
        offset = mark.offset()
        place = TopicPartition(self._settings.relay_name, self._shard, offset.offset, offset.metadata)
        # The call keeps no time limit while the group's coordinator is away (confluentinc/librdkafka, issue 5456).
        call = Call(self._open().send_offsets_to_transaction, [place], self._group, self._limit_s)
        with talking("add a window's number"):
            try:
                call.result(limit_s=self._limit_s, meanwhile=lambda: None)
            except LeftBehindError as error:
                raise BrokerAwayError("could not add a window's number: no answer in time") from error

    def commit(self) -> None:
        """Commit the transaction."""
        with talking("commit a window"), self._one_end():
            self._open().commit_transaction(self._limit_s)

    def abort(self) -> None:
        """Abort the transaction."""
        with talking("abort a window"), self._one_end():
            self._open().abort_transaction(self._limit_s)

    def close(self) -> None:
        """Let go of Kafka: the client's own `close` would first wait for an abort, without a time limit."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge(blocking=False)

    def _open(self) -> Producer:
        if self._producer is None:
            raise BrokerAwayError("the producer was closed meanwhile")
        return self._producer

    def _produce(self, producer: Producer, records: Iterable[Record]) -> None:
        produce: Any = producer.produce  # its stub wants headers whose values may be None
        for record in records:
            try:
                produce(record.topic, record.value, record.key, partition=record.partition, headers=record.headers)
            except BufferError:
                self._produce_when_there_is_room(producer, record)

    def _produce_when_there_is_room(self, producer: Producer, record: Record) -> None:
        produce: Any = producer.produce
        deadline = monotonic() + self._limit_s
        while monotonic() < deadline:
            producer.poll(ROOM_S)
            with suppress(BufferError):
                produce(record.topic, record.value, record.key, partition=record.partition, headers=record.headers)
                return
        raise BrokerAwayError("could not publish a window: the client's queue stays full")

    def _wait(self, producer: Producer) -> int:
        """Wait until each record is acknowledged or one is not; return how many are left."""
        deadline = monotonic() + self._limit_s
        # After a failure the client keeps the rest back until the abort, so it is looked for in between.
        while (waiting := producer.flush(LOOK_S)) and self._failed is None and monotonic() < deadline:
            pass
        return waiting

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in NOT_TAKEN:
            self._not_taken = error

    def _on_delivery(self, error: KafkaError, _message: Message) -> None:
        self._fail(error)

    def _fail(self, error: KafkaError) -> None:
        if self._failed is None or self._failed.code() in CONSEQUENCES:
            self._failed = error

    def _cause(self, producer: Producer, failed: KafkaError) -> KafkaException:
        """Return why the transaction failed; the client tells it to whoever would begin another."""
        if failed.code() in CONSEQUENCES:
            try:
                producer.begin_transaction()
            except KafkaException as error:
                return error
        return KafkaException(failed)

    @contextmanager
    def _one_end(self) -> Iterator[None]:
        producer = self._open()
        self._log.ends.clear()
        yield
        producer.poll(0)  # hands over the log lines
        self.worn |= not self._log.one_end


def _group(name: str) -> object:
    """Return a group without members as the client wants it; only a consumer, which never connects, can tell."""
    consumer = Consumer({"group.id": name})
    try:
        return consumer.consumer_group_metadata()
    finally:
        consumer.close()
