"""Does every process end in time when it is told to, whoever hangs or is away? With 0, and nothing half-done."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from paidonce.app.clock import new_id
from paidonce.app.settings import Settings
from paidonce.chaos.proxy.client import Proxies
from paidonce.chaos.proxy.faults import Fault
from paidonce.devstack.detour import url
from paidonce.devstack.pace import environment
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

PROCESSES = {
    "api": ["api"],
    "relay": ["relay"],
    "consumer": ["consumer", "ledger"],
    "effects": ["effects"],
    "cleaner": ["cleaner"],
}
#: The bound that the processes are told, and what a busy machine may take beyond it.
STOP_S, BUSY_S = 3.0, 25.0
#: A pass that takes longer is stuck: above what a pass takes on a busy machine, or nobody would ever be ready.
STUCK_S = 4.0


class Running:
    """One process, its log, and where it says that it is ready."""

    def __init__(self, name: str, settings: Settings, folder: Path, **more: Any) -> None:
        self.log, self.port = folder / f"{name}.log", free_port()
        own = {"worker_port": self.port, "api_port": self.port, "stop_s": STOP_S}
        given = {field: _plain(getattr(settings, field)) for field in settings.model_fields_set} | own | more
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paidonce.cli", *PROCESSES[name]],
                env=os.environ | environment(given),
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def readyz(self) -> tuple[int, str]:
        """The status of /readyz and what it says; 0: nobody answers."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            answer = httpx.get(f"http://{LOOPBACK}:{self.port}/readyz", trust_env=False, timeout=5)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    def stop(self) -> None:
        """It must end with 0, in time."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_S + BUSY_S) == 0, self.log.read_text()


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


@contextmanager
def running(name: str, settings: Settings, folder: Path, **more: Any) -> Iterator[Running]:
    made = Running(name, settings, folder, **more)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait(BUSY_S)


def make_topic(settings: Settings, folder: Path) -> None:
    """A relay does, at its start."""
    with running("relay", settings, folder) as helper:
        until(lambda: ready(helper), within_s=BUSY_S, what="the topic")
        helper.stop()


def ready(one: Running) -> bool:
    return one.readyz()[0] == 200


@pytest.fixture(scope="module")
def proxies() -> Iterator[Proxies]:
    with Proxies() as started:
        yield started


@pytest.mark.parametrize("name", PROCESSES)
def test_a_database_that_takes_connections_and_says_nothing_holds_no_stop(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        dsn = f"postgresql://paidonce:x@{LOOPBACK}:{silent.getsockname()[1]}/paidonce"
        with running(name, settings, tmp_path, dsn=dsn) as one:
            silent.settimeout(BUSY_S)
            held, _ = silent.accept()
            one.stop()
            held.close()


@pytest.mark.parametrize("name", [name for name in PROCESSES if name != "api"])
def test_a_database_that_falls_silent_is_noticed_and_holds_no_stop(
    name: str, settings: Settings, proxies: Proxies, tmp_path: Path
) -> None:
    dsn = url(proxies.detour, f"postgres-{name}", settings.dsn.get_secret_value())
    make_topic(settings, tmp_path)
    with running(name, settings, tmp_path, dsn=dsn, worker_stuck_s=STUCK_S) as one:
        until(lambda: ready(one), within_s=BUSY_S, what=f"{name} to be ready")
        proxies.arm(Fault(link=f"postgres-{name}", kind="stall"))
        try:
            until(lambda: one.readyz()[0] == 503, within_s=BUSY_S, what=f"{name} to say that it hangs")
            one.stop()
        finally:
            proxies.heal()


@pytest.mark.parametrize("name", ["relay", "consumer"])
def test_kafka_that_falls_silent_is_noticed_and_holds_no_stop(
    name: str, settings: Settings, kafka: Any, tmp_path: Path
) -> None:
    make_topic(settings, tmp_path)
    with (
        running(name, settings, tmp_path, worker_stuck_s=1.0) as one,
        psycopg.connect(settings.dsn.get_secret_value(), autocommit=True) as tables,
    ):
        until(lambda: ready(one), within_s=BUSY_S, what=f"{name} to be ready")
        kafka.process.send(signal.SIGSTOP)
        try:
            tables.execute(
                "INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)"
                " VALUES (%s, 'payment', 'a', 'payment.accepted', 1, '{}')",
                (new_id(),),
            )
            until(lambda: one.readyz()[0] == 503, within_s=BUSY_S, what=f"{name} to say that Kafka is away")
            one.stop()
        finally:
            kafka.process.send(signal.SIGCONT)


@pytest.mark.parametrize("name", ["relay", "consumer"])
def test_kafka_that_is_away_from_the_start_is_said_and_holds_no_stop(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    with running(name, settings, tmp_path, kafka=f"{LOOPBACK}:{free_port()}") as one:
        until(lambda: "could not connect" in one.log.read_text(), within_s=BUSY_S, what=f"{name} to say so")
        assert one.readyz()[0] == 503
        one.stop()


def test_a_call_that_the_provider_does_not_answer_is_ended_and_written_down(settings: Settings, tmp_path: Path) -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as silent,
        psycopg.connect(settings.dsn.get_secret_value(), autocommit=True) as tables,
        running("effects", settings, tmp_path, provider_url=f"http://{LOOPBACK}:{silent.getsockname()[1]}") as one,
    ):
        tables.execute(
            "INSERT INTO effects (id, kind, subject, tenant, request) VALUES (%s, 'charge', %s, 'acme', '{}')",
            (new_id(), str(new_id())),
        )
        silent.settimeout(BUSY_S)
        held, _ = silent.accept()
        one.stop()
        held.close()
        assert tables.execute("SELECT state, attempts FROM effects").fetchall() == [("unknown", 1)]
        assert "stop_given_up" not in one.log.read_text()
