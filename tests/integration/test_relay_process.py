"""The relay as a process: it runs until SIGTERM, hands over at once, and a dead broker does not hold it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import psycopg
import pytest

from paidonce.app.clock import new_id
from paidonce.app.settings import Settings
from paidonce.devstack.pace import environment

START = "from paidonce.app.settings import Settings; from paidonce.workers.{name} import main; main(Settings())"
#: A busy machine starts an interpreter, its imports and its clients within this.
WITHIN_S = 60


def told(settings: Settings) -> dict[str, str]:
    plain = {name: getattr(settings, name) for name in settings.model_fields_set if name != "provider_secret"}
    return environment(plain | {"dsn": settings.dsn.get_secret_value()})


@contextmanager
def running(name: str, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", START.format(name=name)], env=os.environ | told(settings))
    try:
        yield process
    finally:
        process.kill()
        process.wait(WITHIN_S)


@pytest.fixture
def tables(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def until(tables: psycopg.Connection[Any], statement: str, found: Callable[[Any], bool]) -> None:
    """Wait for the tables to say so; the server waits, for 50 ms between looks."""
    deadline = monotonic() + WITHIN_S
    while not found(tables.execute(statement.encode()).fetchone()):
        assert monotonic() < deadline, statement
        tables.execute("SELECT pg_sleep(0.05)")


def put_event(tables: psycopg.Connection[Any], key: str) -> None:
    tables.execute(
        "INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)"
        " VALUES (%s, 'payment', %s, 'payment.accepted', 1, '{}')",
        (new_id(), key),
    )


def test_it_publishes_until_sigterm_and_hands_over_at_once(settings: Settings, tables: psycopg.Connection[Any]) -> None:
    lasting = settings.model_copy(update={"relay_lease_s": 600.0})
    with running("relay", lasting) as first:
        put_event(tables, "a")
        until(tables, "SELECT count(*) FROM relay_windows WHERE published IS NOT NULL", lambda row: row[0] == 1)
        first.send_signal(signal.SIGTERM)
        assert first.wait(WITHIN_S) == 0
    assert tables.execute("SELECT count(*) FROM leases WHERE owner IS NOT NULL").fetchone() == (0,)


@pytest.mark.slow
def test_a_broker_that_never_answers_does_not_hold_the_exit(
    settings: Settings, tables: psycopg.Connection[Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        away = settings.model_copy(update={"kafka": address, "relay_lease_s": 600.0})
        with running("relay", away) as process:
            silent.settimeout(WITHIN_S)
            held, _ = silent.accept()
            began = monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(WITHIN_S) == 0
            assert monotonic() - began < 10
            held.close()


@pytest.mark.slow
def test_a_broker_that_falls_silent_does_not_hold_the_exit(
    settings: Settings, tables: psycopg.Connection[Any], kafka: Any
) -> None:
    lasting = settings.model_copy(update={"relay_lease_s": 600.0})
    with running("relay", lasting) as process:
        put_event(tables, "a")
        until(tables, "SELECT count(*) FROM relay_windows WHERE published IS NOT NULL", lambda row: row[0] == 1)
        os.kill(kafka.process.pid, signal.SIGSTOP)
        try:
            put_event(tables, "a")
            until(tables, "SELECT count(*) FROM relay_windows", lambda row: row[0] == 2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(WITHIN_S) == 0
        finally:
            os.kill(kafka.process.pid, signal.SIGCONT)
    assert tables.execute("SELECT count(*) FROM leases WHERE owner IS NOT NULL").fetchone() == (0,)


@pytest.mark.slow
def test_a_cleaner_hands_over_at_once(settings: Settings, tables: psycopg.Connection[Any]) -> None:
    with running("cleaner", settings.model_copy(update={"cleaner_lease_s": 600.0})) as process:
        until(
            tables, "SELECT count(*) FROM leases WHERE name = 'cleaner' AND owner IS NOT NULL", lambda row: row[0] == 1
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
    assert tables.execute("SELECT count(*) FROM leases WHERE owner IS NOT NULL").fetchone() == (0,)
