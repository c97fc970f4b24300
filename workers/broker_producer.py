"""How does a window get into Kafka exactly once? One producer a shard, one transaction a window.

The order inside a transaction is what makes a late or repeated EndTxn harmless: first the events,
each acknowledged, last the window's number. Both clients speak transactions without an epoch for
each (KIP-890), so an EndTxn that the network held back could end the first part of the *next*
window early. A late commit then lacks the number, and the window is published again, twice rather
than never. A late abort would take that part away and let the rest through: so after an EndTxn
that was sent more than once, or whose answer got lost, nothing is sent before a new producer has
made it void (docs/design.md, "Relay").
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from paidonce.app import trace_context
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.broker_marks import Mark


class AbortedError(BrokerAwayError):
    """The window's transaction was aborted before its commit began: publish the same window again."""


class TooLargeError(Exception):
    """An event is larger than its topic takes: it can never be published."""


class Record(NamedTuple):
    """An event as Kafka takes it."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Client(Protocol):
    """What a library's producer must be able to do; its own errors never leave it.

    Each call may raise ConfigurationError (Kafka will never do it) or BrokerAwayError (anything else).
    """

    @property
    def worn(self) -> bool:
        """Whether an EndTxn was sent more than once, or may have been: it may still arrive."""

    def fence(self) -> None:
        """Make every earlier producer of the shard powerless, and wait for its last transaction's end."""

    def send(self, records: Iterable[Record]) -> None:
        """Begin a transaction; return when each record is acknowledged. Raises TooLargeError too."""

    def add(self, mark: Mark) -> None:
        """Let the mark become the shard's when the transaction commits."""

    def commit(self) -> None:
        """Commit the transaction."""

    def abort(self) -> None:
        """Abort the transaction."""

    def close(self) -> None:
        """Let go of Kafka, without waiting for what is unfinished."""


class Publisher:
    """A shard's transactional producer. Its calls may block for long: make them where they can be left behind."""

    def __init__(self, settings: Settings, shard: int) -> None:
        """Connect.

        Raises:
            ConfigurationError: the chosen client is not installed, or Kafka will never take it.
            BrokerAwayError: Kafka is away; with librdkafka only `fence` notices.
        """
        self._shard = shard
        self._client = connect(settings, shard)

    @property
    def worn(self) -> bool:
        """Whether a late EndTxn of this producer may still arrive: take a new one before the next window."""
        return self._client.worn

    @step("relay.fence")
    def fence(self) -> None:
        """Make every earlier producer of the shard powerless, and wait for its last transaction's end."""
        self._client.fence()

    def publish(self, records: Sequence[Record], mark: Mark) -> None:
        """Publish one window.

        Raises:
            AbortedError: it is certainly not published; recover, because Kafka may have left something open.
            TooLargeError: it is not, and cannot be, published; take a new producer.
            ConfigurationError: it is not, and Kafka will never take it: rights, versions, settings.
            BrokerAwayError: nobody knows, or the producer is worn or broken: recover.
        """
        with trace_context.within_all(lambda: map(_traceparent, records)):
            self._publish(records, mark)

    def _publish(self, records: Sequence[Record], mark: Mark) -> None:
        try:
            # S7: one transaction a window: its events, each acknowledged, then number and identity, then the commit.
            self._send(records)
            self._add(mark)
        except (ConfigurationError, TooLargeError):
            # Whoever comes next takes a new producer, whose fence aborts it, too: librdkafka 2.16 sometimes waits in
            # vain for records that it has itself purged after one was too large.
            with suppress(BrokerAwayError, ConfigurationError):
                self._abort()
            raise
        except BrokerAwayError as error:
            self._abort()
            what = f"window {mark.number} of shard {self._shard}: {error}"
            if self.worn:
                raise BrokerAwayError(f"{what}; its abort may still be under way") from error
            raise AbortedError(what) from error
        self._commit()

    def close(self) -> None:
        """Let go of Kafka, without waiting for what is unfinished."""
        self._client.close()

    @step("relay.send")
    def _send(self, records: Iterable[Record]) -> None:
        self._client.send(records)

    @step("relay.add_number")
    def _add(self, mark: Mark) -> None:
        self._client.add(mark)

    @step("relay.commit")
    def _commit(self) -> None:
        self._client.commit()

    @step("relay.abort")
    def _abort(self) -> None:
        self._client.abort()


def _traceparent(record: Record) -> str:
    return dict(record.headers).get(trace_context.HEADER, b"").decode()


def connect(settings: Settings, shard: int) -> Client:
    """Return the producer of the library that PAIDONCE_KAFKA_CLIENT names; raises as Publisher() does."""
    if settings.kafka_client == "librdkafka":
        try:
            # An extra: whoever has not chosen it need not have it.
            from paidonce.workers.broker_producer_librdkafka import Librdkafka  # noqa: PLC0415  see above
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "PAIDONCE_KAFKA_CLIENT=librdkafka needs a library that is not installed: "
                "pip install 'paidonce[librdkafka]'"
            ) from error
        return Librdkafka(settings, shard)
    from paidonce.workers.broker_producer_kafka_python import KafkaPython  # noqa: PLC0415  it names our classes

    return KafkaPython(settings, shard)
