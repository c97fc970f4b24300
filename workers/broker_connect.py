"""How is a client of kafka-python made? With the settings' arguments, and without leaving anything behind in vain."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaConnectionError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient

from paidonce.app.settings import Settings
from paidonce.workers.broker import NOT_TAKEN, BrokerAwayError, limit_ms, talking
from paidonce.workers.broker_refusals import why
from paidonce.workers.broker_security import of_kafka_python


@contextmanager
def connecting(settings: Settings, to_do: str = "connect", kind: Any = KafkaNetClient) -> Iterator[dict[str, Any]]:
    """Yield the arguments by which a client connects; `kind` makes its connections.

    Raises:
        ConfigurationError: Kafka will never take us: a user, a password, a file, versions.
        BrokerAwayError: no connection was made, and why, as far as that can be found out.
    """
    made: list[Any] = []
    refusals: list[Exception] = []

    def make(**options: Any) -> Any:
        made.append(kind(**options))
        _note(made[-1], refusals)
        return made[-1]

    with talking(to_do):
        try:
            yield of_kafka_python(settings) | {"kafka_client": make}
        except BaseException as error:
            # kafka-python 3.0.12 forgets its thread and sockets then: in a long outage they would become thousands.
            for one in made:
                one.close()
            if not isinstance(error, KafkaTimeoutError | KafkaConnectionError):
                raise
            if refusals:
                raise refusals[0] from error
            if reason := why(settings):
                raise BrokerAwayError(f"could not {to_do}: {reason}") from error
            raise


@contextmanager
def reading(settings: Settings, **options: Any) -> Iterator[KafkaConsumer]:
    """Yield a consumer in no group, which reads what is committed, from the start; raises as `connecting` does."""
    with connecting(settings) as given:
        consumer = KafkaConsumer(
            **given,
            isolation_level="read_committed",
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            auto_offset_reset="earliest",
            bootstrap_timeout_ms=limit_ms(settings),
            metrics_enabled=False,
            **options,
        )
    try:
        yield consumer
    finally:
        consumer.close(autocommit=False)


def _note(client: Any, refusals: list[Exception]) -> None:
    """Take note of what brokers say to our user: the client tries on, and in the end knows only that time was up.

    Not of each: kafka-python 3.0.12 does not read an answer after which the broker hangs up at once.
    """
    manager = client._manager  # noqa: SLF001  it offers no other way to them
    get_connection = manager.get_connection

    def noting(*arguments: Any, **options: Any) -> Any:
        connection = get_connection(*arguments, **options)
        connection.init_future.add_errback(
            lambda error: refusals.append(error) if isinstance(error, NOT_TAKEN) else None
        )
        return connection

    manager.get_connection = noting
