"""How does kafka-python publish a window? The default, pure Python.

Its calls to add a number and to end a transaction know no time limit: the relay leaves them behind.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from kafka.net.compat import KafkaNetClient
from kafka.protocol.producer import EndTxnRequest

from paidonce.app.settings import Settings
from paidonce.workers.broker import (
    LINGER_MS,
    RECONNECT_MOST_MS,
    REQUEST_BYTES_MAX,
    RETRY_BACKOFF_MS,
    BrokerAwayError,
    batch_bytes,
    limit_ms,
    talking,
    transactional_id,
)
from paidonce.workers.broker_connect import connecting
from paidonce.workers.broker_marks import Mark, place
from paidonce.workers.broker_producer import Record, TooLargeError
from paidonce.workers.broker_selector import Selector

#: A stop does not wait longer for a producer that cannot finish.
CLOSE_S = 0.5


class _Counting(KafkaNetClient):  # type: ignore[misc]  # the client has no types
    """Counts the EndTxn requests that leave: one for each transaction, unless the client sent one again."""

    ends = 0
    _pass_on = KafkaNetClient.send

    def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        """Send a request to a broker, counted."""
        self.ends += isinstance(request, EndTxnRequest)
        return self._pass_on(node_id, request, **options)


class KafkaPython:
    """A shard's producer (paidonce.workers.broker_producer.Client)."""

    def __init__(self, settings: Settings, shard: int) -> None:
        """Connect; raises as `broker.talking` does."""
        self._settings = settings
        self._shard = shard
        self._clients: list[_Counting] = []
        #: Whether an EndTxn was sent more than once.
        self.worn = False
        with connecting(settings, "connect a producer", self._client) as given:
            self._producer = KafkaProducer(
                **given,
                client_id=transactional_id(settings, shard),
                transactional_id=transactional_id(settings, shard),
                selector=Selector,
                # Said explicitly: conflicting options would switch it off silently.
                enable_idempotence=True,
                acks="all",
                allow_auto_create_topics=False,
                batch_size=batch_bytes(settings),
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

    def fence(self) -> None:
        """Make every earlier producer of the shard powerless."""
        with talking("take over a shard"):
            self._producer.init_transactions()

    def send(self, records: Iterable[Record]) -> None:
        """Begin a transaction; return when each record is acknowledged."""
        with talking("publish a window"):
            try:
                self._send(records)
            except KafkaError as error:
                cause = _cause(error)
                if isinstance(cause, MessageSizeTooLargeError | RecordListTooLargeError):
                    raise TooLargeError(str(cause)) from error
                raise cause from error
            except ValueError as error:
                raise BrokerAwayError(f"a topic is not what it was: {error}") from error

    def _send(self, records: Iterable[Record]) -> None:
        self._producer.begin_transaction()
        send = self._producer.send
        futures = [
            send(record.topic, key=record.key, value=record.value, headers=record.headers, partition=record.partition)
            for record in records
        ]
        self._producer.flush(limit_ms(self._settings) / 1000)
        for future in futures:
            if not future.succeeded():
                future.get(timeout=0)
                raise KafkaError("an event was not acknowledged")

    def add(self, mark: Mark) -> None:
        """Let the mark become the shard's when the transaction commits."""
        with talking("add a window's number"):
            self._producer.send_offsets_to_transaction(
                {place(self._settings, self._shard): mark.offset()}, self._settings.relay_name
            )

    def commit(self) -> None:
        """Commit the transaction."""
        with talking("commit a window"), self._one_end():
            self._producer.commit_transaction()

    def abort(self) -> None:
        """Abort the transaction."""
        with talking("abort a window"), self._one_end():
            self._producer.abort_transaction()

    def close(self) -> None:
        """Let go of Kafka; what is unfinished after a moment is dropped."""
        with talking("close a producer"):
            self._producer.close(timeout=CLOSE_S)

    @contextmanager
    def _one_end(self) -> Iterator[None]:
        before = self._clients[0].ends
        yield
        self.worn |= self._clients[0].ends - before > 1

    def _client(self, **options: Any) -> KafkaNetClient:
        self._clients.append(_Counting(**options))
        return self._clients[-1]


def _cause(error: KafkaError) -> KafkaError:
    """Return why the transaction failed: once it has, the client wraps that in every later error."""
    return next((one for one in error.args if isinstance(one, KafkaError)), error)
