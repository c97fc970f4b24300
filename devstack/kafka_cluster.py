"""How do three brokers of Apache Kafka run on one machine? Each is controller and broker, as the single one is.

Every topic's data is in all three, and two must have it before it counts as written: one broker may
die at any moment without anything being lost, and two of three controllers still agree
(docs/operations.md, "Outages and failover").
"""

from concurrent.futures import ThreadPoolExecutor

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


def start_cluster(run: Run, *, brokers: int = 3, quick: bool = True) -> Kafka:
    """Start fresh brokers in the run's folder; raises as `start_kafka` does."""
    java = java_command(quick=quick, heap=HEAP)
    nodes = [Node(number, run.folder / f"kafka-{number}") for number in range(1, brokers + 1)]
    voters = ",".join(f"{node.id}@{LOOPBACK}:{node.controller}" for node in nodes)
    cluster = new_cluster_id()
    for node in nodes:
        node.configure(REPLICATED | {"controller.quorum.voters": voters})
    with ThreadPoolExecutor(brokers) as threads:
        list(threads.map(lambda node: format_storage(java, node, cluster), nodes))
    processes = [begin(run, java, node, node.folder.name) for node in nodes]
    for process in processes:
        wait_started(process)
    return Kafka(",".join(f"{LOOPBACK}:{node.port}" for node in nodes), processes[0], processes[1:])
