"""Which topics are there? Made when missing, held to what they were, and known by their ids.

The id tells a topic from another that was made under its name later: what was published to the
first is not in the second (docs/design.md, "Relay").
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.broker import RECONNECT_MOST_MS, BrokerAwayError, limit_ms, talking
from paidonce.workers.broker_connect import connecting

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is now."""

    name: str
    #: given by Kafka when the topic was made; a UUID as text
    id: str
    partitions: int


class Topics:
    """A connection for questions about topics."""

    def __init__(self, settings: Settings) -> None:
        """Connect; raises as `broker.talking` does."""
        self._settings = settings
        with connecting(settings) as given:
            self._admin = KafkaAdminClient(
                **given,
                client_id=f"{settings.relay_name}-admin",
                bootstrap_timeout_ms=limit_ms(settings),
                request_timeout_ms=limit_ms(settings),
                reconnect_backoff_max_ms=RECONNECT_MOST_MS,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._admin.close()

    def ensure(self, names: Collection[str]) -> dict[str, Topic]:
        """Return the topics of events, made if missing.

        Raises:
            ConfigurationError: one takes smaller messages than PAIDONCE_MESSAGE_BYTES_MAX.
            BrokerAwayError: Kafka did not answer.
        """
        found = self._ensure(names, self._settings.topic_partitions, self._options())
        for name in names:
            self._check_size(name)
        return found

    def ensure_relay_topic(self, shards: int) -> Topic:
        """Return the topic, without records, whose offsets are the windows' numbers; raises as `ensure` does."""
        name = self._settings.relay_name
        topic = self._ensure([name], shards, {"cleanup.policy": "delete"})[name]
        if topic.partitions < shards:
            raise ConfigurationError(
                f"topic {name} has {topic.partitions} partitions, the outbox {shards} shards: "
                f"add partitions with kafka-topics.sh --alter --topic {name} --partitions {shards}"
            )
        return topic

    def _ensure(self, names: Collection[str], partitions: int, options: Mapping[str, str]) -> dict[str, Topic]:
        found = self.find(names)
        missing = [name for name in names if name not in found]
        if missing:
            self._create(missing, partitions, options)
            found = self.find(names)
        if len(found) < len(set(names)):
            raise BrokerAwayError(f"topics {', '.join(missing)} are not there yet")
        return found

    def find(self, names: Collection[str]) -> dict[str, Topic]:
        """Return those of the topics that exist, by name; raises BrokerAwayError."""
        with talking("describe topics"):
            topics = self._admin.describe_topics(list(names))
        return {
            topic["name"]: Topic(topic["name"], str(topic["topic_id"]), len(topic["partitions"]))
            for topic in topics
            if topic["error_code"] == 0
        }

    @step("broker.create_topics")
    def _create(self, names: Collection[str], partitions: int, options: Mapping[str, str]) -> None:
        wanted: dict[str, dict[str, Any]] = {
            name: {
                "num_partitions": partitions,
                "replication_factor": self._settings.topic_replication,
                "configs": dict(options),
            }
            for name in names
        }
        with talking("create topics"):
            try:
                self._admin.create_topics(wanted, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                # Another relay was faster, and means the same topic.
                self._admin.wait_for_topics(list(names))

    def _options(self) -> dict[str, str]:
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self._settings.topic_retention_d * DAY_MS),
            "segment.ms": str(self._settings.topic_segment_d * DAY_MS),
            "min.insync.replicas": str(max(1, self._settings.topic_replication - 1)),
            "unclean.leader.election.enable": "false",
        }

    def _check_size(self, name: str) -> None:
        with talking("describe a topic's settings"):
            found = self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
        taken = int(found["topic"][name]["max.message.bytes"]["value"])
        if taken < self._settings.message_bytes_max:
            raise ConfigurationError(
                f"topic {name} takes messages of {taken} bytes (max.message.bytes), events may have "
                f"{self._settings.message_bytes_max} (PAIDONCE_MESSAGE_BYTES_MAX): a larger one would stop its shard"
            )
