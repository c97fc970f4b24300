"""How far behind is each consumer group? Records that it has not committed, and since when the oldest one waits."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.protocol.consumer import IsolationLevel

from paidonce.app.settings import Settings
from paidonce.workers.broker import BrokerAwayError, limit_ms, talking
from paidonce.workers.broker_connect import connecting, reading

#: A first record is all that is wanted of each partition; one that is larger comes whole all the same.
FIRST_BYTES = 65_536
#: Seconds that one look for first records may take: a partition may hold nothing but aborted records.
FIRST_S = 30.0
#: Milliseconds of one poll in it.
POLL_MS = 200


def lags(settings: Settings, topic: str, groups: Collection[str]) -> dict[str, int | None]:
    """Return group -> offsets from its commits to `topic`'s last stable ones; None: it never committed.

    The marker of a transaction takes an offset too, which is committed with the next record after
    it: a consumer that has read everything may stay behind by one for each partition.

    Raises:
        BrokerAwayError: Kafka did not answer.
    """
    with talking("ask for lag"), _admin(settings) as admin:
        places = _places(admin, topic)
        if not places:
            return dict.fromkeys(groups)
        starts, ends = _bounds(admin, places)
        found: dict[str, int | None] = {}
        for group, done in admin.list_group_offsets(dict.fromkeys(groups, places)).items():
            # Retention may have removed what was never read: that is no longer to be read.
            behind = [ends[one] - max(done[one].offset, starts[one]) for one in places]
            found[group] = sum(behind) if any(done[one].offset >= 0 for one in places) else None
        return found


def unread_since(settings: Settings, topic: str, groups: Collection[str]) -> dict[str, datetime | None]:
    """Return group -> the time of the oldest record on `topic` that it has not committed; None: there is none.

    The time is the record's own, when the relay sent it. What Kafka removed unread it cannot tell.

    Raises:
        BrokerAwayError: Kafka did not answer.
    """
    with talking("ask for unread records"), _admin(settings) as admin:
        places = _places(admin, topic)
        starts, ends = _bounds(admin, places)
        unread: dict[str, dict[TopicPartition, int]] = {}
        for group, done in admin.list_group_offsets(dict.fromkeys(groups, places)).items() if places else ():
            begin = {one: max(done[one].offset, starts[one]) for one in places}
            unread[group] = {one: offset for one, offset in begin.items() if offset < ends[one]}
    if not any(unread.values()):
        return dict.fromkeys(groups)
    with talking("read first records"), reading(settings, max_partition_fetch_bytes=FIRST_BYTES) as reader:
        return {group: _oldest(reader, unread.get(group, {}), ends) for group in groups}


def members(settings: Settings, group: str) -> int:
    """Return how many processes are in the group at this moment.

    Raises:
        BrokerAwayError: Kafka did not answer.
    """
    with talking("describe a consumer group"), _admin(settings) as admin:
        return len(admin.describe_groups([group])[group]["members"])


def _oldest(
    reader: KafkaConsumer, unread: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> datetime | None:
    """Return the time of the oldest first record; markers and aborted records are none."""
    reader.assign(list(unread))
    # A partition that was assigned for the group before is still paused: the client keeps its state.
    reader.resume(*unread)
    for place, offset in unread.items():
        reader.seek(place, offset)
    times = []
    waiting, deadline = set(unread), monotonic() + FIRST_S
    while waiting:
        if monotonic() > deadline:
            raise BrokerAwayError(f"no first record of {len(waiting)} partitions came within {FIRST_S:g} s")
        found = reader.poll(timeout_ms=POLL_MS)
        times += [records[0].timestamp for records in found.values()]
        waiting = {one for one in waiting - found.keys() if reader.position(one) < ends[one]}
        reader.pause(*(set(unread) - waiting))
    return datetime.fromtimestamp(min(times) / 1000, UTC) if times else None


@contextmanager
def _admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    with connecting(settings) as given:
        admin = KafkaAdminClient(
            **given,
            bootstrap_timeout_ms=limit_ms(settings),
            request_timeout_ms=limit_ms(settings),
        )
    try:
        yield admin
    finally:
        admin.close()


def _places(admin: KafkaAdminClient, name: str) -> list[TopicPartition]:
    (topic,) = admin.describe_topics([name])
    if topic["error_code"]:
        return []
    return [TopicPartition(name, one["partition_index"]) for one in topic["partitions"]]


def _bounds(
    admin: KafkaAdminClient, places: Collection[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Return the first offset of each partition, and the end of what `read_committed` shows."""
    if not places:
        return {}, {}
    ends = admin.list_partition_offsets(
        dict.fromkeys(places, OffsetSpec.LATEST), isolation_level=IsolationLevel.READ_COMMITTED
    )
    starts = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
    return {one: starts[one].offset for one in places}, {one: ends[one].offset for one in places}
