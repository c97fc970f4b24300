"""Of three brokers, may any one be killed under load? Nothing is lost, on the topic twice, or charged twice.

Killed are the coordinator of a shard's transactions and that of a consumer's group (which may be
one), each with the partitions that it leads; the second only when the first is back and in step again.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError

from paidonce.chaos.outages import Outage, end, outages
from paidonce.chaos.plan import Load, Plan
from paidonce.chaos.report import Report, report
from paidonce.chaos.run import PROVIDER, execute, nobody
from paidonce.devstack.kafka import restart_broker
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.failover, pytest.mark.timeout(600)]

#: The drain's bound is for a busy machine: a quiet one takes some seconds.
DRAIN_S = 120.0
PAYMENTS, LOAD_S = 200, 50.0
PLAN = Plan(name="brokers", says="", load=Load(payments=PAYMENTS, seconds=LOAD_S, drain_s=DRAIN_S))
#: Seconds until a broker that is back has everything that was written meanwhile.
IN_STEP_S = 60.0

INTERNAL = TRANSACTIONS, OFFSETS = "__transaction_state", "__consumer_offsets"


@dataclass
class Seen:
    """What was seen of the cluster, and how the run ended."""

    #: who was killed, and what they coordinated
    killed: dict[str, int]
    #: node id -> the topics that it led when it was killed
    led: dict[int, set[str]]
    #: replicas and min.insync.replicas of each topic of ours
    topics: dict[str, tuple[set[int], int]]
    report: Report
    restarts: dict[str, int]


def leaders(admin: KafkaAdminClient, names: list[str]) -> dict[int, set[str]]:
    """Return node id -> topics of which it leads a partition."""
    found: dict[int, set[str]] = {}
    for topic in admin.describe_topics(names):
        for partition in topic["partitions"]:
            found.setdefault(partition["leader_id"], set()).add(topic["name"])
    return found


def coordinator(admin: KafkaAdminClient, topic: str, name: str) -> int:
    """Return the node that coordinates `name`: it leads the partition that Java's hash of the name gives."""
    (found,) = admin.describe_topics([topic])
    hashed = 0
    for letter in name:
        hashed = (31 * hashed + ord(letter)) & 0xFFFFFFFF
    number = (hashed & 0x7FFFFFFF) % len(found["partitions"])
    return next(int(one["leader_id"]) for one in found["partitions"] if one["partition_index"] == number)


def has_new_leaders(admin: KafkaAdminClient, names: list[str], node: int) -> bool:
    """Tell whether all that the dead broker led has another leader."""
    try:
        found = leaders(admin, names)
    except KafkaError:  # the admin client is one of those who have to find another broker
        return False
    return not {node, -1} & found.keys()


def in_step(admin: KafkaAdminClient, names: list[str]) -> bool:
    """Tell whether every partition has all three replicas in step."""
    try:
        topics = admin.describe_topics(names)
    except KafkaError:
        return False
    return all(len(one["isr_nodes"]) == 3 for topic in topics for one in topic["partitions"])


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with Stack(replicas=2, brokers=3, overrides=PROVIDER) as stack:
        admin = KafkaAdminClient(bootstrap_servers=stack.addresses.kafka.split(","))
        ours = [stack.settings.topic, stack.settings.relay_name]
        led: dict[int, set[str]] = {}

        def strike(node: int) -> None:
            broker = stack.servers.kafka.brokers[node - 1]
            led[node] = leaders(admin, [*ours, *INTERNAL]).get(node, set())
            end(broker, signal.SIGKILL)
            until(lambda: has_new_leaders(admin, ours, node), within_s=30, what=f"leaders in place of broker {node}")
            restart_broker(stack.run, broker)
            until(lambda: in_step(admin, [*ours, *INTERNAL]), within_s=IN_STEP_S, what="all replicas to be in step")

        killed = {
            "transactions": coordinator(admin, TRANSACTIONS, f"{stack.settings.relay_name}-0"),
            "group": coordinator(admin, OFFSETS, f"{stack.settings.topic}-charges"),
        }
        when = dict(zip(sorted(set(killed.values())), (0.1, 0.5), strict=False))
        killed_brokers = [Outage(f"kafka-{node}", when[node], lambda _, node=node: strike(node)) for node in when]
        made = outages(*killed_brokers, load_s=LOAD_S)
        folder = tmp_path_factory.mktemp("brokers")
        result = execute(stack, folder, nobody(), plan=PLAN, seed=12, make_faults=made)
        topics = {name: (_replicas(admin, name), _least_in_step(admin, name)) for name in ours}
        admin.close()
        yield Seen(killed, led, topics, report(result), {name: stack.restarts(name) for name in stack.pids()})


def _replicas(admin: KafkaAdminClient, name: str) -> set[int]:
    return {len(one["replica_nodes"]) for topic in admin.describe_topics([name]) for one in topic["partitions"]}


def _least_in_step(admin: KafkaAdminClient, name: str) -> int:
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
    return int(found["topic"][name]["min.insync.replicas"]["value"])


def test_topics_of_the_relay_are_on_all_brokers_and_two_must_have_what_is_written(seen: Seen) -> None:
    assert len(seen.topics) == 2
    assert [*seen.topics.values()] == [({3}, 2)] * 2


def test_the_coordinators_of_transactions_and_groups_were_killed(seen: Seen) -> None:
    assert set(seen.led) == set(seen.killed.values())
    assert TRANSACTIONS in seen.led[seen.killed["transactions"]]
    assert OFFSETS in seen.led[seen.killed["group"]]
    assert len(seen.report.result.facts.faults) == len(seen.led)


def test_nothing_is_lost_and_nothing_done_twice(seen: Seen) -> None:
    broken = {finding.checker.name: finding.violations[:3] for finding in seen.report.findings if finding.violations}
    assert broken == {}
    assert (seen.report.verdict, list(seen.report.reasons)) == ("valid", [])
    assert len(seen.report.result.facts.payments) == PAYMENTS


def test_every_process_gets_over_it_by_itself(seen: Seen) -> None:
    assert set(seen.restarts.values()) == {0}
