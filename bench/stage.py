"""Where are the three servers measured? On one durable PostgreSQL, a database each, on this machine.

All of them run at once and only one is asked at a time; an idle one costs nothing.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from paidonce.app.db import sqlalchemy_url
from paidonce.app.settings import Settings
from paidonce.bench import environment
from paidonce.bench.errors import BenchError
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.servers import take_postgres
from paidonce.devstack.tokens import fetch_token
from paidonce.devstack.waiting import until
from paidonce.migrations.upgrade import upgrade

#: Connections of the load, and of each server's pool to the database.
CONNECTIONS = 16
#: Segments of 16 MB of the server's log that are there before the first round: about what a run writes.
LOG_SEGMENTS = 64
#: Seconds until a server answers.
START_S = 30.0
_API = "from paidonce.app.main import serve; from paidonce.app.settings import settings; serve(settings())"
_ISSUER = "from paidonce.devstack.issuer.main import main; main()"
_DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers, ready: name -> port; and a token that all of them take."""

    ports: dict[str, int]
    token: str
    postgres: str


def build(run: Run) -> Stage:
    """Start PostgreSQL, issuer, ours, the null route and idemkit.

    Raises:
        BenchError, StackError: something did not start.
    """
    dsn = take_postgres(run, Settings(), durable=True).dsn
    version = _check_durable(dsn)
    _wear_in(dsn)
    issuer_port = free_port()
    issuer = f"http://{LOOPBACK}:{issuer_port}"
    settings = {"PAIDONCE_ISSUER": issuer, "PAIDONCE_API_CONNECTIONS_MAX": str(CONNECTIONS)}
    ports = {name: free_port() for name in ("ours", "null", "idemkit")}
    ours, theirs = (_database(dsn, name) for name in ("ours", "theirs"))
    peer = environment.python()
    _quiet([str(peer.parent / "idemkit"), "init-pg", theirs])
    jwks = f"{issuer}/.well-known/jwks.json"
    own = {"PAIDONCE_DSN": ours, "PAIDONCE_API_PORT": str(ports["ours"])}
    started = [
        _python(
            run,
            "issuer",
            ["-c", _ISSUER],
            {"PAIDONCE_ISSUER_PORT": str(issuer_port), "PAIDONCE_ISSUER_FOLDER": str(run.folder / "issuer")},
        )
    ]
    _wait(started[0], issuer_port)
    peers = {"BENCH_DSN": theirs, "BENCH_CONNECTIONS": str(CONNECTIONS), "BENCH_JWKS": jwks, "BENCH_ISSUER": issuer}
    _wait(_python(run, "ours", ["-c", _API], settings | own), ports["ours"])
    _wait(_python(run, "null", ["-m", "paidonce.bench.null_app"], settings | _port(ports["null"])), ports["null"])
    app = str(Path(__file__).parent / "peers" / "idemkit_app.py")
    _wait(_start(run, "idemkit", [str(peer), app], peers | _port(ports["idemkit"])), ports["idemkit"])
    return Stage(ports, fetch_token(issuer, ttl=3_600), version)


def _port(port: int) -> dict[str, str]:
    return {"BENCH_PORT": str(port)}


def _python(run: Run, name: str, arguments: list[str], env: dict[str, str]) -> Process:
    return _start(run, name, [sys.executable, *arguments], env)


def _start(run: Run, name: str, argv: list[str], env: dict[str, str]) -> Process:
    return run.start(Command(name, argv, run.folder, run.environment(env)))


def _wait(process: Process, port: int) -> None:
    def answers() -> bool:
        process.check()
        try:
            return httpx.get(f"http://{LOOPBACK}:{port}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    until(answers, within_s=START_S, what=f"{process.name} to answer")


def _database(dsn: str, name: str) -> str:
    """Make a migrated database `name`; return its DSN."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE bench_{name}_{os.getpid()}".encode())
    found = urlsplit(dsn)._replace(path=f"/bench_{name}_{os.getpid()}").geturl()
    settings = Settings(dsn=found)
    engine = create_engine(sqlalchemy_url(settings), poolclass=NullPool)
    upgrade(engine, settings)
    engine.dispose()
    return found


def _check_durable(dsn: str) -> str:
    """Return the server's version; a figure from a server that may lose commits would not be one."""
    with psycopg.connect(dsn) as connection:
        for name in _DURABLE:
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            if row != ("on",):
                raise BenchError(f"PostgreSQL has {name} {row}: no figure without durability")
        row = connection.execute("SELECT current_setting('server_version')").fetchone()
    assert row is not None
    return str(row[0])


def _wear_in(dsn: str) -> None:
    """Give the server log segments that it has used before, as one that has been running for a day has.

    A fresh one makes each segment first, 16 MB of zeros for every few thousand requests: that would be measured
    instead of whoever writes the most.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET min_wal_size = '{LOG_SEGMENTS * 16}MB'".encode())
        connection.execute(f"ALTER SYSTEM SET max_wal_size = '{LOG_SEGMENTS * 32}MB'".encode())
        connection.execute("SELECT pg_reload_conf()")
        for _ in range(LOG_SEGMENTS):
            connection.execute("SELECT pg_logical_emit_message(false, 'bench', 'worn'), pg_switch_wal()")
        connection.execute("CHECKPOINT")


def _quiet(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{argv[0]} failed:\n{done.stderr[-2_000:]}")
