"""How do three brokers of Apache Kafka run on one machine? Each is controller and broker, as the single one is.

Every topic's data is in all three, and two must have it before it counts as written: one broker may
die at any moment without anything being lost, and two of three controllers still agree
(docs/operations.md, "Outages and failover").
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from paidonce.devstack.detour import Detour, straight
from paidonce.devstack.kafka import Kafka, Node, begin, format_storage, java_command, new_cluster_id, wait_started
from paidonce.devstack.ports import LOOPBACK
from paidonce.devstack.runs import Run

#: Three JVMs beside PostgreSQL and all of ours: what a test writes fits many times.
HEAP = ["-Xmx384m", "-XX:+UseSerialGC"]

#: What differs from a single broker: replicas, and somebody to hand over to.
REPLICATED = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "controlled.shutdown.enable": "true",
    # A dead broker's partitions have new leaders after this (default: 9 s).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}


def start_cluster(run: Run, *, brokers: int = 3, quick: bool = True, detour: Detour = straight) -> Kafka:
    """Start fresh brokers in the run's folder, which reach each other by the `detour`; raises as `start_kafka` does."""
    java = java_command(quick=quick, heap=HEAP)
    nodes = [Node(number, run.folder / f"kafka-{number}") for number in range(1, brokers + 1)]
    cluster, led = new_cluster_id(), []
    for node in nodes:
        led.append(node.led_to(detour))
        by_detour: dict[str, tuple[int, str]] = {}
        if detour is not straight:
            peers = detour(f"kafka-{node.id}-peers", f"{LOOPBACK}:{node.peers}")
            by_detour = {"LED": (node.led, led[-1]), "PEERS": (node.peers, peers)}
        node.configure(
            REPLICATED
            | {"controller.quorum.voters": _voters(node, nodes, detour)}
            | ({"inter.broker.listener.name": "PEERS"} if by_detour else {}),
            by_detour,
        )
    with ThreadPoolExecutor(brokers) as threads:
        list(threads.map(lambda node: format_storage(java, node, cluster), nodes))
    processes = [begin(run, java, node, node.folder.name) for node in nodes]
    for process in processes:
        wait_started(process)
    bootstrap = ",".join(f"{LOOPBACK}:{node.port}" for node in nodes)
    return Kafka(bootstrap, processes[0], processes[1:], ",".join(led))


def _voters(seen_from: Node, nodes: Sequence[Node], detour: Detour) -> str:
    """Return the controllers as one of them reaches them: itself directly, each other by a detour of the two."""

    def address(node: Node) -> str:
        own = f"{LOOPBACK}:{node.controller}"
        return own if node is seen_from else detour(f"kafka-{node.id}-controller-from-{seen_from.id}", own)

    return ",".join(f"{node.id}@{address(node)}" for node in nodes)
