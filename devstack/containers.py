"""How do the servers come from containers instead? Through testcontainers, where a Docker engine answers."""

from typing import Any

from paidonce.devstack.errors import StackError
from paidonce.devstack.kafka import PROPERTIES, STARTED
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.runs import Run

POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = "apache/kafka:4.4.0"
VALKEY_IMAGE = "valkey/valkey:9"


def postgres_dsn(run: Run) -> str:
    """Start PostgreSQL; return its DSN."""
    env = {"POSTGRES_USER": "paidonce", "POSTGRES_PASSWORD": "paidonce", "POSTGRES_DB": "paidonce"}
    # The image's first server, for its set-up only, is ready too: the second message is the lasting one's.
    ready = r"ready to accept connections[\s\S]*ready to accept connections"
    port = _start(run, POSTGRES_IMAGE, ports=(5432, free_port()), ready=ready, env=env)
    return f"postgresql://paidonce:paidonce@{LOOPBACK}:{port}/paidonce"


def kafka_bootstrap(run: Run) -> str:
    """Start Apache Kafka; return its bootstrap address."""
    # The broker tells its clients where it is, so the outer port is chosen first.
    port = free_port()
    own = {
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.quorum.voters": "1@localhost:9093",
    }
    env = {"KAFKA_" + name.upper().replace(".", "_"): value for name, value in (PROPERTIES | own).items()}
    return f"{LOOPBACK}:{_start(run, KAFKA_IMAGE, ports=(9092, port), ready=STARTED, env=env)}"


def valkey_url(run: Run) -> str:
    """Start Valkey; return its redis:// URL."""
    port = _start(run, VALKEY_IMAGE, ports=(6379, free_port()), ready="Ready to accept connections", env={})
    return f"redis://{LOOPBACK}:{port}/0"


def _start(run: Run, image: str, *, ports: tuple[int, int], ready: str, env: dict[str, str]) -> int:
    inner, outer = ports
    try:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415  an extra: only who asks needs it
        from testcontainers.core.waiting_utils import wait_for_logs  # noqa: PLC0415
    except ImportError as error:
        raise StackError(
            "PAIDONCE_STACK=containers needs testcontainers: "
            "pip install --require-hashes -r requirements/containers.txt"
        ) from error
    try:
        container: Any = DockerContainer(image).with_bind_ports(inner, (LOOPBACK, outer))
        for name, value in env.items():
            container.with_env(name, value)
        run.at_close(container.start().stop)
        wait_for_logs(container, ready, timeout=90)
    except Exception as error:  # docker and requests raise what they like
        raise StackError(
            f"PAIDONCE_STACK=containers: no Docker engine runs {image} here ({type(error).__name__}: {error}). "
            "Start one, or take the embedded servers: unset PAIDONCE_STACK"
        ) from error
    return outer
