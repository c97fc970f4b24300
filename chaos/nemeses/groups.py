"""What is done to a consumer's group in Kafka? Its offsets are deleted, and strangers join it and leave again.

`target` is the consumer's process, e.g. `consumer-ledger`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.schedule import Planned
from paidonce.devstack.errors import TooLateError
from paidonce.devstack.waiting import until
from paidonce.workers.broker import METADATA_MOST_MS, RECONNECT_MOST_MS
from paidonce.workers.consumer_member import group_of

#: Seconds within which the group lets its offsets be deleted: its member left in order, or its session (2 s) is over.
EMPTY_WITHIN_S = 20.0
#: Seconds within which a stranger gets partitions: two rebalances of a group whose member polls.
ASSIGNED_WITHIN_S = 20.0
#: Strangers that try it in turn: kafka-python's (3.0.12) wait for ever when a poll ends while they join.
TRIES = 3
#: Strangers of a storm, one after the other, unless its arguments say otherwise.
STRANGERS = 4
#: Milliseconds of one poll of a stranger, and of its farewell.
POLL_MS, CLOSE_MS = 100, 2_000


@contextmanager
def delete_offsets(arena: Arena, planned: Planned) -> Iterator[str]:
    """Stop the consumer in order and delete its group, offsets and all; it starts again after `for_s` seconds.

    Kafka deletes no offsets under a member. The successor reads the topic from its start.
    """
    group = _group(arena, planned)
    arena.stack.hold(planned.target)
    try:
        yield _deleted(arena, group)
    finally:
        arena.stack.release(planned.target)


@contextmanager
def rebalances(arena: Arena, planned: Planned) -> Iterator[str]:
    """Let `strangers` join the group one after the other; each takes partitions, reads, commits nothing and leaves."""
    group = _group(arena, planned)
    strangers = int(planned.args.get("strangers", STRANGERS))
    took = [_stranger(arena, group) for _ in range(strangers)]
    yield f"{strangers} strangers joined {group} and left: they had {', '.join(map(str, took))} partitions"


def _group(arena: Arena, planned: Planned) -> str:
    name = planned.target.removeprefix("consumer-")
    if name == planned.target or planned.target not in arena.stack.pids():
        raise DidNotFireError(f"there is no consumer {planned.target!r}")
    return group_of(arena.product.settings, name)


def _deleted(arena: Arena, group: str) -> str:
    admin = KafkaAdminClient(bootstrap_servers=arena.stack.servers.kafka.bootstrap.split(","))
    try:
        offsets = _offsets(admin, group)
        if not offsets:
            raise DidNotFireError(f"{group} had no offsets yet")
        until(lambda: _is_deleted(admin, group), within_s=EMPTY_WITHIN_S, what=f"the end of the group {group}")
    except (KafkaError, TooLateError) as error:
        raise DidNotFireError(f"{group} was not deleted: {error}") from error
    finally:
        admin.close()
    return f"the offsets of {offsets} partitions of {group} are gone"


def _is_deleted(admin: KafkaAdminClient, group: str) -> bool:
    # Refused while somebody is in it; then it is asked again.
    admin.delete_groups([group])
    return not _offsets(admin, group)


def _offsets(admin: KafkaAdminClient, group: str) -> int:
    return len(admin.list_group_offsets({group: None})[group])


def _stranger(arena: Arena, group: str) -> int:
    """Be a member until partitions come, then leave; returns how many came."""
    try:
        return _member_for_a_while(arena, group)
    except (KafkaError, TooLateError) as error:
        raise DidNotFireError(f"{TRIES} strangers did not get into {group}: {error}") from error


@retry(retry=retry_if_exception_type((KafkaError, TooLateError)), stop=stop_after_attempt(TRIES), reraise=True)
def _member_for_a_while(arena: Arena, group: str) -> int:
    settings = arena.product.settings
    session_ms = int(settings.consumer_session_s * 1000)
    consumer = KafkaConsumer(
        settings.topic,
        bootstrap_servers=arena.stack.servers.kafka.bootstrap.split(","),
        group_id=group,
        client_id="stranger",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(CooperativeStickyAssignor,),
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // 3,
        # As our own members: one that asked a broker which another fault has cut off shall not believe it for minutes.
        reconnect_backoff_max_ms=RECONNECT_MOST_MS,
        metadata_max_age_ms=METADATA_MOST_MS,
    )
    try:
        return _joined(consumer, group)
    finally:
        consumer.close(timeout_ms=CLOSE_MS)


def _joined(consumer: KafkaConsumer, group: str) -> int:
    def assigned() -> bool:
        consumer.poll(timeout_ms=POLL_MS)
        return bool(consumer.assignment())

    until(assigned, within_s=ASSIGNED_WITHIN_S, what=f"partitions for a stranger in {group}")
    return len(consumer.assignment())
