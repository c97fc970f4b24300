"""Where do PostgreSQL, Kafka and Valkey come from? From a setting that names one, from containers, or from here."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from paidonce.app.settings import Settings
from paidonce.devstack import containers
from paidonce.devstack.detour import Detour, straight
from paidonce.devstack.errors import StackError
from paidonce.devstack.kafka import Kafka, start_kafka
from paidonce.devstack.kafka_cluster import start_cluster
from paidonce.devstack.kafka_jars import kafka_jars
from paidonce.devstack.postgres import Postgres, start_postgres
from paidonce.devstack.postgres_standby import Pair, add_standby
from paidonce.devstack.runs import Run
from paidonce.devstack.valkey import Valkey, start_valkey

#: Is told in a few words what has become ready.
Report = Callable[[str], None]


Server = TypeVar("Server")


@dataclass(frozen=True)
class Servers:
    """The three servers, running; one may be several."""

    postgres: Postgres
    kafka: Kafka
    valkey: Valkey
    #: the primary and its standby; None: PostgreSQL is alone
    pair: Pair | None = None

    def pids(self) -> dict[str, int]:
        """Return the process ids of those that are ours, by name."""
        standby = self.pair.standby if self.pair else None
        found = (self.postgres.process, standby, *self.kafka.brokers, self.valkey.process)
        return {process.name: process.pid for process in found if process}


def start_servers(
    run: Run,
    settings: Settings,
    *,
    durable: bool,
    report: Report,
    brokers: int = 1,
    standby: bool = False,
    disk_mb: int | None = None,
    detour: Detour = straight,
) -> Servers:
    """Start all three at once, of Kafka `brokers` (1 or 3), PostgreSQL with a synchronous `standby` where one is asked.

    The first that cannot start raises StackError.
    """
    _check_ours(settings, brokers=brokers, standby=standby, led=detour is not straight)
    if _from_here("kafka", settings):
        # Here a first start's download can be interrupted; in a thread it could not.
        kafka_jars()
    with ThreadPoolExecutor(3) as threads:
        postgres = threads.submit(
            _reported,
            report,
            "PostgreSQL",
            lambda: _take_pair(run, settings, durable=durable, standby=standby, disk_mb=disk_mb),
        )
        kafka = threads.submit(
            _reported, report, "Apache Kafka", lambda: take_kafka(run, settings, brokers=brokers, detour=detour)
        )
        valkey = threads.submit(_reported, report, "Valkey", lambda: take_valkey(run, settings))
        try:
            alone, pair = postgres.result()
            return Servers(alone, kafka.result(), valkey.result(), pair)
        except BaseException:
            # Ctrl-C, or one that failed: what the others wait for ends now, not when their time is up.
            run.stop()
            raise


def _check_ours(settings: Settings, *, brokers: int, standby: bool, led: bool) -> None:
    for wanted, name, many in (
        (brokers > 1, "kafka", f"{brokers} brokers"),
        # A broker's clients go on to the address that it says itself.
        (led, "kafka", "a detour"),
        (standby, "dsn", "a standby"),
    ):
        if wanted and not _from_here(name, settings):
            raise StackError(f"{many}: only of embedded servers; unset PAIDONCE_{name.upper()} and PAIDONCE_STACK")


def _take_pair(
    run: Run, settings: Settings, *, durable: bool, standby: bool, disk_mb: int | None
) -> tuple[Postgres, Pair | None]:
    alone = take_postgres(run, settings, durable=durable, disk_mb=disk_mb)
    if not standby:
        return alone, None
    pair = add_standby(run, alone, durable=durable)
    return replace(alone, dsn=pair.dsn), pair


def _from_here(name: str, settings: Settings) -> bool:
    return name not in settings.model_fields_set and settings.stack == "embedded"


def _reported(report: Report, name: str, take: Callable[[], Server]) -> Server:
    server = take()
    report(f"{name} is ready")
    return server


def take_postgres(run: Run, settings: Settings, *, durable: bool, disk_mb: int | None = None) -> Postgres:
    """Return the server that PAIDONCE_DSN names, or a fresh one, with a disk of its own where one is asked for."""
    if "dsn" in settings.model_fields_set:
        return Postgres(settings.dsn.get_secret_value())
    if settings.stack == "containers":
        return Postgres(containers.postgres_dsn(run))
    return start_postgres(run, durable=durable, disk_mb=disk_mb)


def take_kafka(run: Run, settings: Settings, *, brokers: int = 1, detour: Detour = straight) -> Kafka:
    """Return the broker that PAIDONCE_KAFKA names, or fresh ones: one, or a cluster."""
    if "kafka" in settings.model_fields_set:
        return Kafka(settings.kafka)
    if settings.stack == "containers":
        return Kafka(containers.kafka_bootstrap(run))
    return start_kafka(run, detour=detour) if brokers == 1 else start_cluster(run, brokers=brokers, detour=detour)


def take_valkey(run: Run, settings: Settings) -> Valkey:
    """Return the server that PAIDONCE_VALKEY names, or a fresh one."""
    if "valkey" in settings.model_fields_set:
        return Valkey(settings.valkey)
    if settings.stack == "containers":
        return Valkey(containers.valkey_url(run))
    return start_valkey(run)
