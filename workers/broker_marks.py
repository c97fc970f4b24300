"""What does Kafka know of a shard? The last window it committed, and into which topics.

Kafka keeps it as a consumer group's offset with metadata, written in the same transaction as the
window's events (docs/design.md, "Relay").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import orjson
from kafka import KafkaConsumer
from kafka.structs import OffsetAndMetadata, TopicPartition

from paidonce.app.settings import Settings
from paidonce.workers.broker import RECONNECT_MOST_MS, limit_ms, talking
from paidonce.workers.broker_connect import connecting


@dataclass(frozen=True, slots=True)
class Mark:
    """The last window of a shard that Kafka committed."""

    number: int
    identity: UUID
    #: name -> id of every topic that the shard has published to
    topics: Mapping[str, str] = field(default_factory=dict)

    def offset(self) -> OffsetAndMetadata:
        """Return it as Kafka keeps it."""
        metadata = orjson.dumps({"identity": str(self.identity), "topics": dict(self.topics)})
        return OffsetAndMetadata(self.number, metadata.decode(), -1)


def place(settings: Settings, shard: int) -> TopicPartition:
    """Return where the shard's mark is."""
    return TopicPartition(settings.relay_name, shard)


class Marks:
    """A reader of marks that never joins the group."""

    def __init__(self, settings: Settings) -> None:
        """Connect; raises as `broker.talking` does."""
        self._settings = settings
        with connecting(settings) as given:
            self._consumer = KafkaConsumer(
                **given,
                client_id=f"{settings.relay_name}-marks",
                group_id=settings.relay_name,
                # Asks the broker to wait for transactions that are being completed (KIP-447, require_stable).
                isolation_level="read_committed",
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=limit_ms(settings),
                reconnect_backoff_max_ms=RECONNECT_MOST_MS,
                metrics_enabled=False,
            )

    def read(self, shard: int) -> Mark | None:
        """Return the shard's mark; None when Kafka knows nothing. Raises BrokerAwayError."""
        with talking("read a shard's mark"):
            found = self._consumer.committed(
                place(self._settings, shard), metadata=True, timeout_ms=limit_ms(self._settings)
            )
        if found is None:
            return None
        # librdkafka's binding writes the text with the NUL that ends it in C.
        metadata = orjson.loads(found.metadata.removesuffix("\0"))
        return Mark(found.offset, UUID(metadata["identity"]), metadata["topics"])

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close(autocommit=False)
