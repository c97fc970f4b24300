"""For how long does a topic keep its records? Its own settings, as Kafka has them now."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from paidonce.app.settings import Settings
from paidonce.workers.broker import limit_ms, talking
from paidonce.workers.broker_connect import connecting

#: Milliseconds beyond which nobody counts: a century. Kafka takes any bigint, Python's timedelta does not.
FOR_EVER_MS = 36_500 * 86_400_000


@dataclass(frozen=True, slots=True)
class Keeps:
    """How a topic keeps its records.

    Its `message.timestamp.type` changes nothing: records are counted from the relay's time or from
    the broker's, and both clocks are within the skew. Nor does `retention.bytes`, which only removes earlier.
    """

    #: from the newest record of a segment on
    retention: timedelta
    #: until a segment is closed: its oldest record lives longer by that
    segment: timedelta
    #: the setting by which records stay for ever; empty: they go
    why_for_ever: str = ""


def keeps(settings: Settings, topic: str) -> Keeps | None:
    """Return how `topic` keeps its records; None when there is no such topic.

    Raises:
        ConfigurationError: Kafka will never tell.
        BrokerAwayError: Kafka did not answer.
    """
    with talking(f"read the settings of topic {topic}"):
        with connecting(settings) as given:
            admin = KafkaAdminClient(
                **given,
                bootstrap_timeout_ms=limit_ms(settings),
                request_timeout_ms=limit_ms(settings),
            )
        try:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            found = admin.describe_configs([resource], config_filter="all")["topic"][topic]
        finally:
            admin.close()
    # Of a topic that is not there Kafka tells no setting, and no error.
    return read({name: option["value"] for name, option in found.items()}) if found else None


def read(options: dict[str, Any]) -> Keeps:
    """Return what a topic's settings amount to."""
    retention_ms, segment_ms = int(options["retention.ms"]), int(options["segment.ms"])
    return Keeps(_length(retention_ms), _length(segment_ms), _why_for_ever(options, retention_ms))


def _why_for_ever(options: dict[str, Any], retention_ms: int) -> str:
    policies = {one.strip() for one in str(options["cleanup.policy"]).split(",")}
    if policies != {"delete"}:
        # Compaction keeps the last record of each key, and removes the earlier ones whether they were read or not.
        return f"cleanup.policy={options['cleanup.policy']}"
    return "retention.ms=-1" if retention_ms < 0 else ""


def _length(milliseconds: int) -> timedelta:
    return timedelta(milliseconds=min(milliseconds, FOR_EVER_MS) if milliseconds >= 0 else FOR_EVER_MS)
