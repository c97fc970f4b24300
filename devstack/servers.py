"""Where do PostgreSQL, Kafka and Valkey come from? From a setting that names one, from containers, or from here."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from paidonce.app.settings import Settings
from paidonce.devstack import containers
from paidonce.devstack.kafka import Kafka, start_kafka
from paidonce.devstack.kafka_jars import kafka_jars
from paidonce.devstack.postgres import Postgres, start_postgres
from paidonce.devstack.runs import Run
from paidonce.devstack.valkey import Valkey, start_valkey

#: Is told in a few words what has become ready.
Report = Callable[[str], None]


Server = TypeVar("Server")


@dataclass(frozen=True)
class Servers:
    """The three servers, running."""

    postgres: Postgres
    kafka: Kafka
    valkey: Valkey

    def pids(self) -> dict[str, int]:
        """Return the process ids of those that are ours, by name."""
        found = (self.postgres.process, self.kafka.process, self.valkey.process)
        return {process.name: process.pid for process in found if process}


def start_servers(run: Run, settings: Settings, *, durable: bool, report: Report) -> Servers:
    """Start all three at once; the first that cannot start raises StackError."""
    if _from_here("kafka", settings):
        # Here a first start's download can be interrupted; in a thread it could not.
        kafka_jars()
    with ThreadPoolExecutor(3) as threads:
        postgres = threads.submit(
            _reported, report, "PostgreSQL", lambda: take_postgres(run, settings, durable=durable)
        )
        kafka = threads.submit(_reported, report, "Apache Kafka", lambda: take_kafka(run, settings))
        valkey = threads.submit(_reported, report, "Valkey", lambda: take_valkey(run, settings))
        try:
            return Servers(postgres.result(), kafka.result(), valkey.result())
        except BaseException:
            # Ctrl-C, or one that failed: what the others wait for ends now, not when their time is up.
            run.close()
            raise


def _from_here(name: str, settings: Settings) -> bool:
    return name not in settings.model_fields_set and settings.stack == "embedded"


def _reported(report: Report, name: str, take: Callable[[], Server]) -> Server:
    server = take()
    report(f"{name} is ready")
    return server


def take_postgres(run: Run, settings: Settings, *, durable: bool) -> Postgres:
    """Return the server that PAIDONCE_DSN names, or a fresh one."""
    if "dsn" in settings.model_fields_set:
        return Postgres(settings.dsn.get_secret_value())
    if settings.stack == "containers":
        return Postgres(containers.postgres_dsn(run))
    return start_postgres(run, durable=durable)


def take_kafka(run: Run, settings: Settings) -> Kafka:
    """Return the broker that PAIDONCE_KAFKA names, or a fresh one."""
    if "kafka" in settings.model_fields_set:
        return Kafka(settings.kafka)
    if settings.stack == "containers":
        return Kafka(containers.kafka_bootstrap(run))
    return start_kafka(run)


def take_valkey(run: Run, settings: Settings) -> Valkey:
    """Return the server that PAIDONCE_VALKEY names, or a fresh one."""
    if "valkey" in settings.model_fields_set:
        return Valkey(settings.valkey)
    if settings.stack == "containers":
        return Valkey(containers.valkey_url(run))
    return start_valkey(run)
