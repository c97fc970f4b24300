"""What is done to Kafka's brokers? One is killed, or whichever leads the controllers, and comes back.

`target` is `kafka-1` and on, the only one too; `controller` is found out at the moment of the kill.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.schedule import Planned
from paidonce.devstack.errors import TooLateError
from paidonce.devstack.kafka import restart_broker
from paidonce.devstack.processes import Process
from paidonce.devstack.waiting import until

#: Seconds within which a broker ends after SIGKILL: a moment.
END_WITHIN_S = 10.0
#: Seconds within which the other controllers have another leader: one to two (their election's time limit).
ELECTED_WITHIN_S = 30.0
#: Seconds until every replica is in step again: for a cluster, whose next fault would otherwise be the one too many.
IN_STEP_S = 45.0


@contextmanager
def crash(arena: Arena, planned: Planned) -> Iterator[str]:
    """SIGKILL to a broker; it is started again after `for_s` seconds, and waited for until it is in step."""
    broker = _broker(arena, planned.target)
    _kill(broker)
    try:
        yield f"{planned.target}, pid {broker.pid}, died"
    finally:
        _bring_back(arena, broker)


@contextmanager
def crash_controller(arena: Arena, _planned: Planned) -> Iterator[str]:
    """SIGKILL to the broker that leads the controllers; the others elect another, before it comes back."""
    with _admin(arena) as admin:
        leader = _leader(admin)
        if leader is None:
            raise DidNotFireError("no controller leads")
        broker = _broker(arena, f"kafka-{leader}")
        _kill(broker)
        try:
            yield f"kafka-{leader}, which led the controllers, died{_successor(arena, admin, leader)}"
        finally:
            _bring_back(arena, broker)


def _broker(arena: Arena, target: str) -> Process:
    brokers = {f"kafka-{number}": broker for number, broker in enumerate(arena.stack.servers.kafka.brokers, 1)}
    if target not in brokers:
        raise DidNotFireError(f"{target!r} is none of ours: {', '.join(brokers) or 'the broker is not of this stack'}")
    if not brokers[target].alive():
        raise DidNotFireError(f"{target} had ended already")
    return brokers[target]


def _kill(broker: Process) -> None:
    broker.send(signal.SIGKILL)
    until(lambda: not broker.alive(), within_s=END_WITHIN_S, what=f"the end of {broker.name}")


def _bring_back(arena: Arena, broker: Process) -> None:
    restart_broker(arena.stack.run, broker)
    if len(arena.stack.servers.kafka.brokers) == 1:
        return
    with _admin(arena) as admin:
        until(lambda: _is_in_step(admin), within_s=IN_STEP_S, what=f"every replica to be in step after {broker.name}")


def _successor(arena: Arena, admin: KafkaAdminClient, dead: int) -> str:
    """Wait for the other controllers' leader, where there are others; says who it is."""
    if len(arena.stack.servers.kafka.brokers) == 1:
        return ""
    found: list[int] = []

    def elected() -> bool:
        leader = _leader(admin)
        found[:] = [leader] if leader is not None else []
        return leader not in {None, dead}

    try:
        until(elected, within_s=ELECTED_WITHIN_S, what="another controller to lead")
    except TooLateError as error:
        return f"; {error}"
    return f"; kafka-{found[0]} leads now"


def _leader(admin: KafkaAdminClient) -> int | None:
    """Return the node that leads the controllers; None while nobody says so."""
    try:
        (topic,) = admin.describe_metadata_quorum()["topics"]
    except (KafkaError, ValueError):
        return None
    leader = int(topic["partitions"][0]["leader_id"])
    return leader if leader > 0 else None


def _is_in_step(admin: KafkaAdminClient) -> bool:
    try:
        topics = admin.describe_topics(admin.list_topics())
    except KafkaError:
        return False
    return all(len(one["isr_nodes"]) == len(one["replica_nodes"]) for topic in topics for one in topic["partitions"])


@contextmanager
def _admin(arena: Arena) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=arena.stack.servers.kafka.bootstrap.split(","))
    try:
        yield admin
    finally:
        admin.close()
