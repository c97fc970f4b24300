"""What is done to the database's disk? It is full: nothing can be written any more, until there is room again.

Needs a small file system of its own (the ground's `disk_mb`); without one, filling it would fill the machine's.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.schedule import Planned
from paidonce.devstack.errors import TooLateError
from paidonce.devstack.postgres import Postgres, restart_postgres, wait_answers
from paidonce.devstack.waiting import until

#: Seconds within which PostgreSQL notices: as soon as a table or its log needs another block.
NOTICED_WITHIN_S = 15.0
#: Bytes that are written at once.
BLOCK = 1 << 20
SAID = "No space left on device"


@contextmanager
def fill(arena: Arena, _planned: Planned) -> Iterator[str]:
    """Fill the disk to the last byte, and wait until PostgreSQL said so; there is room again after `for_s` seconds."""
    postgres, folder = arena.stack.servers.postgres, arena.stack.run.folder / "postgres"
    server = postgres.process
    if server is None or not folder.is_mount():
        raise DidNotFireError(
            postgres.no_disk or "the database has no disk of its own: the plan's ground has no disk_mb"
        )
    said, filler = server.said().count(SAID), folder / "filler"
    try:
        taken = _fill(filler)
        try:
            until(lambda: server.said().count(SAID) > said, within_s=NOTICED_WITHIN_S, what="PostgreSQL to notice")
        except TooLateError as error:
            raise DidNotFireError(str(error)) from error
        yield f"{taken >> 20} MB were taken; PostgreSQL said: {_line(server.said())}"
    finally:
        filler.unlink(missing_ok=True)
        _revive(arena, postgres)


def _fill(path: Path) -> int:
    """Write until nothing fits any more; returns how much did."""
    taken, block = 0, b"\0" * BLOCK
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while block:
            try:
                taken += os.write(descriptor, block)
            except OSError:
                block = block[: len(block) // 2]
    finally:
        os.close(descriptor)
    return taken


def _line(said: str) -> str:
    return next(line.strip() for line in reversed(said.splitlines()) if SAID in line)[:160]


def _revive(arena: Arena, postgres: Postgres) -> None:
    """See that it works again: without room for its own log it may have given up for good."""
    server = postgres.process
    assert server is not None
    if server.alive():
        try:
            wait_answers(arena.stack.servers.postgres.dsn, server)
        except Exception:
            if server.alive():
                raise
    if not server.alive():
        restart_postgres(arena.stack.run, arena.stack.servers.postgres.dsn, server)
