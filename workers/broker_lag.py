"""How far behind is each consumer group? Records on the topic that it has not committed, by group."""

from collections.abc import Collection

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.protocol.consumer import IsolationLevel

from paidonce.app.settings import Settings
from paidonce.workers.broker import bootstrap, limit_ms, talking


def lags(settings: Settings, groups: Collection[str]) -> dict[str, int | None]:
    """Return group -> offsets from its commits to the topic's last stable ones; None: it never committed.

    The marker of a transaction takes an offset too, which is committed with the next record after
    it: a consumer that has read everything may stay behind by one for each partition.

    Raises:
        BrokerAwayError: Kafka did not answer.
    """
    with talking("ask for lag"):
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap(settings),
            bootstrap_timeout_ms=limit_ms(settings),
            request_timeout_ms=limit_ms(settings),
        )
        try:
            return _lags(admin, settings.topic, groups)
        finally:
            admin.close()


def _lags(admin: KafkaAdminClient, name: str, groups: Collection[str]) -> dict[str, int | None]:
    (topic,) = admin.describe_topics([name])
    if topic["error_code"]:
        return dict.fromkeys(groups)
    places = [TopicPartition(name, one["partition_index"]) for one in topic["partitions"]]
    ends = admin.list_partition_offsets(
        dict.fromkeys(places, OffsetSpec.LATEST), isolation_level=IsolationLevel.READ_COMMITTED
    )
    starts = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
    found: dict[str, int | None] = {}
    for group, done in admin.list_group_offsets(dict.fromkeys(groups, places)).items():
        # Retention may have removed what was never read: that is no longer to be read.
        behind = [ends[one].offset - max(done[one].offset, starts[one].offset) for one in places]
        found[group] = sum(behind) if any(done[one].offset >= 0 for one in places) else None
    return found
