"""What is done to PostgreSQL? It crashes and comes back, and its sessions are cut off."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.schedule import Planned
from paidonce.devstack.postgres import restart_postgres
from paidonce.devstack.processes import Process
from paidonce.devstack.waiting import until

#: Seconds within which the server ends after its signal: an immediate shutdown takes some milliseconds.
END_WITHIN_S = 30.0

CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@contextmanager
def crash(arena: Arena, planned: Planned) -> Iterator[str]:
    """Stop it at once, without a checkpoint, as a crash would; it is started again after `for_s` seconds."""
    server = _server(arena, planned)
    server.send(signal.SIGQUIT)
    until(lambda: not server.alive(), within_s=END_WITHIN_S, what="the end of PostgreSQL")
    try:
        yield f"pid {server.pid} ended"
    finally:
        restart_postgres(arena.stack.run, arena.stack.servers.postgres.dsn, server)


@contextmanager
def cut_backends(arena: Arena, _planned: Planned) -> Iterator[str]:
    """End every session, in whatever it is doing."""
    with psycopg.connect(arena.stack.servers.postgres.dsn, autocommit=True, connect_timeout=5) as connection:
        row = connection.execute(CUT).fetchone()
    cut = row[0] if row else 0
    if not cut:
        raise DidNotFireError("nobody was connected")
    yield f"{cut} sessions were cut off"


def _server(arena: Arena, planned: Planned) -> Process:
    servers = arena.stack.servers
    processes = {"postgres": servers.postgres.process, "standby": servers.pair.standby if servers.pair else None}
    server = processes.get(planned.target)
    if server is None:
        raise DidNotFireError(f"{planned.target!r} is none of ours: postgres, or standby")
    return server
