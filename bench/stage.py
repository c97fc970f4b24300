"""Where are the three servers measured? On one durable PostgreSQL, a database each, on this machine.

All of them run at once and only one is asked at a time; an idle one costs nothing.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from paidonce.bench import children, database, environment
from paidonce.bench.errors import BenchError
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run
from paidonce.devstack.tokens import fetch_token

#: Connections of the load, and of each server's pool to the database.
CONNECTIONS = 16
_API = "from paidonce.app.main import serve; from paidonce.app.settings import settings; serve(settings())"
_ISSUER = "from paidonce.devstack.issuer.main import main; main()"


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
    server = database.start(run)
    issuer_port = free_port()
    issuer = f"http://{LOOPBACK}:{issuer_port}"
    settings = {"PAIDONCE_ISSUER": issuer, "PAIDONCE_API_CONNECTIONS_MAX": str(CONNECTIONS)}
    ports = {name: free_port() for name in ("ours", "null", "idemkit")}
    ours, theirs = (database.fresh(server.dsn, name) for name in ("ours", "theirs"))
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
    _wait(children.start(run, "idemkit", [str(peer), app], peers | _port(ports["idemkit"])), ports["idemkit"])
    return Stage(ports, fetch_token(issuer, ttl=3_600), server.version)


def _port(port: int) -> dict[str, str]:
    return {"BENCH_PORT": str(port)}


def _python(run: Run, name: str, arguments: list[str], env: dict[str, str]) -> Process:
    return children.start(run, name, [sys.executable, *arguments], env)


def _wait(process: Process, port: int) -> None:
    children.wait_answer(process, f"http://{LOOPBACK}:{port}/healthz")


def _quiet(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{argv[0]} failed:\n{done.stderr[-2_000:]}")
