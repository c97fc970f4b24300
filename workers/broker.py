"""What do all our Kafka clients share? Names, addresses, time limits, and which errors are only a pause.

Modules named `broker…` are the product's only ones that know the Kafka client.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    InvalidTransactionTimeoutError,
    KafkaConfigurationError,
    KafkaError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)

from paidonce.app.errors import ConfigurationError, PaidonceError
from paidonce.app.settings import Settings

#: A broker that collects garbage, or starts, answers within this: shorter leases do not shorten Kafka's limits.
LIMIT_LEAST_S = 3.0

#: Seconds between attempts to connect, at most: the client's own 30 would keep us away from a healed broker.
RECONNECT_MOST_MS = 500
#: Milliseconds until a client asks anew who leads: a broker that no longer hears of the others goes on saying that it
#: does, and the client's own five minutes would keep us there.
METADATA_MOST_MS = 5_000

#: One batch is in flight per partition: 16 KB, a client's default, would be a round trip for each dozen events.
BATCH_BYTES = 131_072
#: A window's events are there all at once: they fill a batch within this, or are the last.
LINGER_MS = 1
#: Right after a commit the broker answers CONCURRENT_TRANSACTIONS for some ms; the default back-off is 100.
RETRY_BACKOFF_MS = 2
#: The largest that one request may be; `message_bytes_max` guards single events.
REQUEST_BYTES_MAX = 8_388_608

#: What no back-off mends.
HOPELESS = (
    AuthorizationError,
    InvalidTransactionTimeoutError,
    KafkaConfigurationError,
    UnsupportedVersionError,
)
#: A user, a password or a way to show them that Kafka does not take.
NOT_TAKEN = (IllegalSaslStateError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
#: What is to be done then.
MEND_USER = (
    "mend PAIDONCE_KAFKA_USER, PAIDONCE_KAFKA_PASSWORD, PAIDONCE_KAFKA_SASL_MECHANISM or "
    "PAIDONCE_KAFKA_SECURITY_PROTOCOL"
)


class BrokerAwayError(PaidonceError):
    """Kafka did not do what we asked: it is a pause, and the same is tried again."""


def limit_ms(settings: Settings) -> int:
    """Return the milliseconds after which the relay gives up on an answer: about its lease.

    An open transaction holds back every `read_committed` reader of its partitions, so nothing of
    the relay waits for much longer than it takes until another relay owns the shard.
    """
    return int(max(settings.relay_lease_s, LIMIT_LEAST_S) * 1000)


def batch_bytes(settings: Settings) -> int:
    """Return the bytes of a producer's batch: a topic takes no larger batch than it takes messages."""
    return min(BATCH_BYTES, settings.message_bytes_max)


def transactional_id(settings: Settings, shard: int) -> str:
    """Return the id under which Kafka knows a shard's producers, of which only the last may write."""
    return f"{settings.relay_name}-{shard}"


@contextmanager
def talking(to_do: str) -> Iterator[None]:
    """Turn the client's errors into ours.

    Raises:
        ConfigurationError: Kafka will never do it: rights, versions, settings.
        BrokerAwayError: anything else that the client raised.
    """
    try:
        yield
    except NOT_TAKEN as error:
        raise ConfigurationError(f"Kafka refuses us: {error!r}: {MEND_USER}") from error
    except HOPELESS as error:
        raise ConfigurationError(f"Kafka refuses to {to_do}: {error!r} (PAIDONCE_KAFKA)") from error
    except KafkaError as error:
        raise BrokerAwayError(f"could not {to_do}: {error!r}") from error
