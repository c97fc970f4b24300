"""What the tests of several relays share: relay processes, whoever writes events, and a reader of the whole topic."""

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any
from urllib.request import urlopen

import orjson
import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition

from paidonce.app.clock import new_id
from paidonce.app.settings import Settings
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.pace import environment

#: A busy machine starts an interpreter, its imports and its clients within this.
WITHIN_S = 60.0
#: Nothing expires while a test runs: whatever changes hands was given.
LASTING_S = 600.0
START = "from paidonce.app.settings import Settings; from paidonce.workers.relay import main; main(Settings())"
#: The same, but it stops itself (SIGSTOP) before the first pass of the step that its argument names.
STOPPING = """
import os, signal, sys
from paidonce.app import steps

class Stop:
    struck = False
    def before(self, step):
        if step == sys.argv[1] and not self.struck:
            self.struck = True
            os.kill(os.getpid(), signal.SIGSTOP)
    def after(self, step, seconds, error):
        pass

steps.listen(Stop())
"""
#: Keys of which each of two shards has some.
KEYS = [f"key-{number}" for number in range(8)]
INSERT = """
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)
    VALUES (%s, 'payment', %s, 'payment.accepted', %s, '{}')
"""
SHARDS = "SELECT name, owner, epoch FROM leases WHERE name LIKE 'relay-shard-%' AND owner IS NOT NULL"
MEMBERS = "SELECT name FROM leases WHERE name LIKE 'relay/%'"


class RelayProcess:
    """A relay of its own, and what it logged."""

    def __init__(self, settings: Settings, log: Path, stop_before: str | None) -> None:
        told = {name: getattr(settings, name) for name in settings.model_fields_set if name != "provider_secret"}
        variables = os.environ | environment(told | {"dsn": settings.dsn.get_secret_value()})
        source = (STOPPING if stop_before else "") + START
        self._log = log
        with log.open("wb") as out:
            argv = [sys.executable, "-c", source, stop_before or ""]
            self.process = subprocess.Popen(argv, env=variables, stdout=out, stderr=out)

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(WITHIN_S)

    def is_stopped(self) -> bool:
        """Whether a SIGSTOP holds it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = (line for line in self._log.read_bytes().splitlines() if line.startswith(b"{"))
        return [line for line in map(orjson.loads, lines) if line["event"] == event]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WITHIN_S)


class Fleet:
    """Relays on one database and one topic."""

    def __init__(self, settings: Settings, tables: psycopg.Connection[Any], folder: Path) -> None:
        self.settings, self.tables = settings, tables
        self._folder = folder
        self._relays: list[RelayProcess] = []
        self._written = 0
        self.sent: list[str] = []

    def start(self, *, stop_before: str | None = None, **options: Any) -> RelayProcess:
        settings = self.settings.model_copy(update=options)
        settings.model_fields_set.update(options)
        log = self._folder / f"relay-{len(self._relays)}.log"
        self._relays.append(RelayProcess(settings, log, stop_before))
        return self._relays[-1]

    def close(self) -> None:
        for relay in self._relays:
            relay.kill()

    def write(self, *keys: str) -> None:
        """One transaction with an event for each of `keys`; by default some for both shards."""
        with self.tables.transaction():
            for key in keys or KEYS:
                id_ = new_id()
                self.tables.execute(INSERT, (id_, key, self._written))
                self.sent.append(str(id_))
                self._written += 1

    def owned(self) -> dict[str, str]:
        """Return the shards' leases and their owners."""
        return {name: owner for name, owner, _ in self.tables.execute(SHARDS)}

    def shares(self) -> list[int]:
        """Return how many shards the owners have, the most first."""
        return sorted(Counter(self.owned().values()).values(), reverse=True)

    def share_of(self, relay: RelayProcess) -> int:
        return sum(f":{relay.pid}:" in owner for owner in self.owned().values())

    def epochs(self) -> dict[str, int]:
        return {name: epoch for name, _, epoch in self.tables.execute(SHARDS)}

    def members(self) -> int:
        return len(self.tables.execute(MEMBERS).fetchall())

    def until(self, found: Callable[[], object], what: str = "") -> None:
        """Wait until it is so; the server does the waiting, for 50 ms between looks."""
        deadline = monotonic() + WITHIN_S
        while not found():
            assert monotonic() < deadline, what or found
            self.tables.execute("SELECT pg_sleep(0.05)")

    def until_published(self) -> None:
        """Wait until a `read_committed` reader finds as many records as events were written."""
        self.until(lambda: len(self.read()) >= len(self.sent), "all is published")

    def check_exactly_once(self) -> None:
        """Every event that was written is on the topic once, in order per key."""
        records = self.read()
        ids = [dict(record.headers)["message-id"].decode() for record in records]
        assert sorted(ids) == sorted(self.sent)
        for key in {record.key for record in records}:
            order = [int(dict(record.headers)["ce_sequence"]) for record in records if record.key == key]
            assert order == sorted(order)

    def read(self) -> list[Any]:
        """Return what a `read_committed` reader finds on the whole topic, partition by partition."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.settings.kafka, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        try:
            names = consumer.partitions_for_topic(self.settings.topic) or ()
            partitions = [TopicPartition(self.settings.topic, one) for one in names]
            consumer.assign(partitions)
            ends = consumer.end_offsets(partitions)
            found: list[Any] = []
            deadline = monotonic() + WITHIN_S
            while any(consumer.position(one) < ends[one] for one in partitions):
                assert monotonic() < deadline, "the topic does not end"
                found += [record for batch in consumer.poll(timeout_ms=200).values() for record in batch]
            return found
        finally:
            consumer.close()


@pytest.fixture
def tables(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def fleet(settings: Settings, tables: psycopg.Connection[Any], tmp_path: Path) -> Iterator[Fleet]:
    started = Fleet(settings, tables, tmp_path)
    yield started
    started.close()


@pytest.fixture
def lasting(fleet: Fleet) -> Fleet:
    """The same with leases that nobody lives to see expire."""
    fleet.settings = fleet.settings.model_copy(update={"relay_lease_s": LASTING_S})
    fleet.settings.model_fields_set.add("relay_lease_s")
    return fleet


@pytest.fixture
def frozen(kafka: Kafka) -> Iterator[Callable[[], None]]:
    """Stops the broker with all its threads, until it is called again or the test ends."""
    if kafka.process is None:
        pytest.skip("stops the broker, which must be ours")
    pid, stopped = kafka.process.pid, False

    def toggle() -> None:
        nonlocal stopped
        stopped = not stopped
        os.kill(pid, signal.SIGSTOP if stopped else signal.SIGCONT)

    yield toggle
    os.kill(pid, signal.SIGCONT)


class Way:
    """A loopback port where nobody listens until `open`; from then on it leads to a server."""

    def __init__(self, port: int, server: tuple[str, int]) -> None:
        self.port, self._server = port, server
        self._door: socket.socket | None = None

    def open(self) -> None:
        self._door = socket.create_server(("127.0.0.1", self.port))
        Thread(target=self._welcome, args=(self._door,), daemon=True).start()

    def close(self) -> None:
        if self._door is not None:
            self._door.close()

    def _welcome(self, door: socket.socket) -> None:
        while True:
            try:
                caller, _ = door.accept()
            except OSError:
                return
            callee = socket.create_connection(self._server)
            for source, sink in ((caller, callee), (callee, caller)):
                Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(65_536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        sink.close()


@pytest.fixture
def way() -> Iterator[Callable[[int, tuple[str, int]], Way]]:
    made: list[Way] = []

    def make(port: int, server: tuple[str, int]) -> Way:
        made.append(Way(port, server))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def metrics() -> Callable[[int], dict[str, float]]:
    """Reads /metrics at a port: sample with its labels -> value; empty while nobody answers."""

    def read(port: int) -> dict[str, float]:
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=WITHIN_S) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        samples = (line.rpartition(" ") for line in lines if line.startswith("paidonce_relay"))
        return {name: float(value) for name, _, value in samples}

    return read
