"""Of three brokers, does the nemesis kill the one that leads the controllers, and wait until all are in step again?"""

from collections.abc import Iterator

import pytest
from kafka.admin import KafkaAdminClient

from paidonce.chaos.arena import Arena
from paidonce.chaos.nemeses import KINDS
from paidonce.chaos.schedule import Planned
from paidonce.devstack.stack import Stack

pytestmark = [pytest.mark.failover, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with Stack(durable=False, brokers=3) as stack:
        yield Arena(stack, tmp_path_factory.mktemp("brokers"))


def in_step(arena: Arena) -> set[int]:
    admin = KafkaAdminClient(bootstrap_servers=arena.stack.addresses.kafka.split(","))
    try:
        topics = admin.describe_topics([arena.stack.settings.topic])
    finally:
        admin.close()
    return {len(one["isr_nodes"]) for topic in topics for one in topic["partitions"]}


def test_the_leading_controller_dies_another_leads_and_all_are_in_step_again(arena: Arena) -> None:
    strike = Planned(number=1, kind="crash-controller", target="controller", at_s=0.0)
    with KINDS["crash-controller"](arena, strike) as saw:
        died, leads = saw.split(", ")[0], saw.split("; ")[1].split(" ")[0]
        alive = {f"kafka-{number}" for number, one in enumerate(arena.stack.servers.kafka.brokers, 1) if one.alive()}
        assert leads in alive
        assert died not in alive
        assert len(alive) == 2
    assert in_step(arena) == {3}


def test_a_broker_dies_and_is_in_step_when_it_is_back(arena: Arena) -> None:
    strike = Planned(number=2, kind="crash-broker", target="kafka-2", at_s=0.0)
    with KINDS["crash-broker"](arena, strike):
        assert not arena.stack.servers.kafka.brokers[1].alive()
    assert in_step(arena) == {3}
