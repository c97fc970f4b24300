"""How does a window get into Kafka exactly once? One producer a shard, one transaction a window.

The order inside a transaction is what makes a late or repeated EndTxn harmless: first the events,
each acknowledged, last the window's number. The client speaks transactions without an epoch for
each (KIP-890), so an EndTxn that the network held back could commit the first part of the *next*
window early: then its number is not there, and the window is published again, twice rather than
never. Such an EndTxn was sent more than once, or its connection broke: `worn` tells, and the
relay takes a new producer, whose new epoch makes the old EndTxn void.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError
from kafka.net.compat import KafkaNetClient
from kafka.partitioner.default import murmur2
from kafka.protocol.producer import EndTxnRequest

from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.broker import (
    RECONNECT_MOST_MS,
    BrokerAwayError,
    bootstrap,
    limit_ms,
    talking,
    transactional_id,
)
from paidonce.workers.broker_marks import Mark, place

#: One batch is in flight per partition: 16 KB, the default, would be a round trip for each dozen events.
BATCH_BYTES = 131_072
#: A window's events are there all at once: they fill a batch within this, or are the last.
LINGER_MS = 1
#: Right after a commit the broker answers CONCURRENT_TRANSACTIONS for some ms; the default back-off is 100.
RETRY_BACKOFF_MS = 2
#: The largest that one request may be; `message_bytes_max` guards single events.
REQUEST_BYTES_MAX = 8_388_608
#: A stop does not wait longer for a producer that cannot finish.
CLOSE_S = 0.5


class AbortedError(BrokerAwayError):
    """The window's transaction was aborted before its commit began: publish the same window again."""


class TooLargeError(Exception):
    """An event is larger than its topic takes: it can never be published."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event as Kafka takes it."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of `key`, as Java's default partitioner computes it: clients differ, so we do it."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


class _Counting(KafkaNetClient):  # type: ignore[misc]  # the client has no types
    """Counts the EndTxn requests that leave: one for each transaction, unless the client sent one again."""

    ends = 0
    _pass_on = KafkaNetClient.send

    def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        """Send a request to a broker, counted."""
        self.ends += isinstance(request, EndTxnRequest)
        return self._pass_on(node_id, request, **options)


class Publisher:
    """A shard's transactional producer. Its calls may block for long: make them where they can be left behind."""

    def __init__(self, settings: Settings, shard: int) -> None:
        """Connect; raises as `broker.talking` does."""
        self._settings = settings
        self._shard = shard
        self._clients: list[_Counting] = []
        #: Whether an EndTxn was sent more than once: it may still arrive, so take a new producer.
        self.worn = False
        with talking("connect a producer"):
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap(settings),
                client_id=transactional_id(settings, shard),
                transactional_id=transactional_id(settings, shard),
                kafka_client=self._client,
                # Said explicitly: conflicting options would switch it off silently.
                enable_idempotence=True,
                acks="all",
                allow_auto_create_topics=False,
                batch_size=BATCH_BYTES,
                linger_ms=LINGER_MS,
                retry_backoff_ms=RETRY_BACKOFF_MS,
                reconnect_backoff_max_ms=RECONNECT_MOST_MS,
                max_request_size=REQUEST_BYTES_MAX,
                max_block_ms=limit_ms(settings),
                request_timeout_ms=limit_ms(settings) // 2,
                delivery_timeout_ms=limit_ms(settings),
                transaction_timeout_ms=limit_ms(settings),
                bootstrap_timeout_ms=limit_ms(settings),
                metrics_enabled=False,
            )

    @step("relay.fence")
    def fence(self) -> None:
        """Make every earlier producer of the shard powerless, and wait for its last transaction's end."""
        with talking("take over a shard"):
            self._producer.init_transactions()

    def publish(self, records: Iterable[Record], mark: Mark) -> None:
        """Publish one window.

        Raises:
            AbortedError: it is certainly not published, and this producer is as good as before.
            TooLargeError: it is not, and cannot be, published.
            BrokerAwayError: nobody knows, or the producer is broken: recover.
        """
        try:
            # S7: one transaction a window: its events, each acknowledged, then number and identity, then the commit.
            self._send(records)
            self._add(mark)
        except KafkaError as error:
            self._abort()
            if isinstance(error, MessageSizeTooLargeError):
                raise TooLargeError(str(error)) from error
            raise AbortedError(f"window {mark.number} of shard {self._shard}: {error!r}") from error
        self._commit()

    def close(self) -> None:
        """Let go of Kafka, without waiting for what is unfinished."""
        with talking("close a producer"):
            self._producer.close(timeout=CLOSE_S)

    @step("relay.send")
    def _send(self, records: Iterable[Record]) -> None:
        self._producer.begin_transaction()
        futures = [
            self._producer.send(
                record.topic, key=record.key, value=record.value, headers=record.headers, partition=record.partition
            )
            for record in records
        ]
        self._producer.flush(limit_ms(self._settings) / 1000)
        for future in futures:
            future.get(timeout=0)
            if not future.succeeded():
                raise KafkaError("an event was not acknowledged")

    @step("relay.add_number")
    def _add(self, mark: Mark) -> None:
        self._producer.send_offsets_to_transaction(
            {place(self._settings, self._shard): mark.offset()}, self._settings.relay_name
        )

    @step("relay.commit")
    def _commit(self) -> None:
        with talking("commit a window"), self._one_end():
            self._producer.commit_transaction()

    @step("relay.abort")
    def _abort(self) -> None:
        with talking("abort a window"), self._one_end():
            self._producer.abort_transaction()

    @contextmanager
    def _one_end(self) -> Iterator[None]:
        before = self._clients[0].ends
        yield
        self.worn |= self._clients[0].ends - before > 1

    def _client(self, **options: Any) -> KafkaNetClient:
        self._clients.append(_Counting(**options))
        return self._clients[-1]
