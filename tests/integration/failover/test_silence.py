"""What when a database server does not end but falls silent: at the connect, in the middle of a statement, for long?

The kernel would wait for minutes at a connect, and for hours for an answer; the pool of the API would
try ever less often.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from sqlalchemy import text

from paidonce.app import db
from paidonce.app.settings import Settings
from paidonce.chaos.outages import end
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.postgres import Postgres, restart_postgres, start_postgres
from paidonce.devstack.runs import Run

pytestmark = [pytest.mark.failover, pytest.mark.timeout(200)]

#: Seconds of outage after which the pool's own tries, left to themselves, would be 16 s apart.
LONG_S = 17.0
#: Seconds after which a healed server is used again: "within seconds", and well below those 16.
AGAIN_S = 6.0


@pytest.fixture
def own() -> Iterator[tuple[Run, Postgres]]:
    with Run() as run:
        yield run, start_postgres(run, durable=False)


def test_a_first_host_that_takes_connections_and_says_nothing_is_passed_over(own: tuple[Run, Postgres]) -> None:
    _, postgres = own
    with socket.create_server((LOOPBACK, 0)) as silent:
        silent.listen()
        dsn = postgres.dsn.replace("@", f"@{LOOPBACK}:{silent.getsockname()[1]},")
        bind = db.engine(Settings(dsn=f"{dsn}?target_session_attrs=read-write"))
        began = monotonic()
        with bind.connect() as tx:
            assert tx.scalar(text("SELECT inet_server_port()")) == int(postgres.dsn.rpartition(":")[2].split("/")[0])
        bind.dispose()
    assert monotonic() - began < 30


async def test_after_a_long_outage_the_hot_pool_is_back_within_seconds(own: tuple[Run, Postgres]) -> None:
    run, postgres = own
    assert postgres.process is not None
    pool = db.hot_pool(Settings(dsn=postgres.dsn, api_connections_max=4, api_pool_wait_s=1.0), lock_timeout_ms=100)
    await pool.open(wait=True)
    end(postgres.process, signal.SIGINT)
    began = monotonic()
    while monotonic() - began < LONG_S:
        with suppress(PoolTimeout, psycopg.OperationalError):
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
    restart_postgres(run, postgres.dsn, postgres.process)
    healed, found = monotonic(), None
    while found is None and monotonic() - healed < AGAIN_S:
        with suppress(PoolTimeout):
            async with pool.connection() as connection:
                found = await (await connection.execute("SELECT 1")).fetchone()
    await pool.close()
    assert found == (1,)


CLIENT = """
import psycopg
from paidonce.app import db
from paidonce.app.settings import Settings
with psycopg.connect(db.libpq_dsn(Settings()), autocommit=True) as connection:
    connection.execute("LISTEN paidonce_outbox")
    print("asks", flush=True)
    try:
        next(connection.notifies(), None)
    except psycopg.OperationalError:
        print("gave up", flush=True)
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="only root can make a network whose packets vanish"
)
def test_an_answer_from_a_host_that_vanished_is_not_waited_for(own: tuple[Run, Postgres]) -> None:
    """Its packets vanish without a word, as when the machine or the network is gone; nobody sends a reset."""
    _, postgres = own
    port = int(postgres.dsn.rpartition(":")[2].split("/")[0])
    with _network() as (space, near), _forwarded(near, port) as reached:
        dsn = postgres.dsn.replace(f"{LOOPBACK}:{port}", f"{near}:{reached}")
        argv = ["ip", "netns", "exec", space, sys.executable, "-P", "-c", CLIENT]
        env = {**os.environ, "PAIDONCE_DSN": dsn}
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == "asks\n"
            _ip("link", "set", f"{space}a", "down")
            try:
                said, _ = client.communicate(timeout=40)
            finally:
                client.kill()
    assert said == "gave up\n"


@contextmanager
def _network() -> Iterator[tuple[str, str]]:
    """A network of two: yields the namespace of the far end, and the address of the near one."""
    number = os.getpid() % 250
    space, near, far = f"po{os.getpid() % 100_000}", f"10.213.{number}.1", f"10.213.{number}.2"
    made = subprocess.run(["ip", "netns", "add", space], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
    try:
        _ip("link", "add", f"{space}a", "type", "veth", "peer", "name", f"{space}b", "netns", space)
        _ip("addr", "add", f"{near}/30", "dev", f"{space}a")
        _ip("link", "set", f"{space}a", "up")
        _ip("-n", space, "addr", "add", f"{far}/30", "dev", f"{space}b")
        _ip("-n", space, "link", "set", f"{space}b", "up")
        yield space, near
    finally:
        _ip("netns", "del", space)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def _forwarded(address: str, port: int) -> Iterator[int]:
    """Pass one connection that comes to `address` on to a loopback port; yields the port there."""
    with socket.create_server((address, free_port())) as server:

        def serve() -> None:
            with server.accept()[0] as near, socket.create_connection((LOOPBACK, port)) as far:
                back = threading.Thread(target=_copy, args=(far, near), daemon=True)
                back.start()
                _copy(near, far)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
