"""How does a PostgreSQL get a synchronous standby, and how does that take over? A copy, a stream, a promotion.

The primary acknowledges no COMMIT before the standby has it in its log, so a promotion loses
nothing that anybody was told of (docs/operations.md, "Outages and failover").
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.postgres import DATABASE, Postgres, Programs, find_programs, settings, wait_answers
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

#: By this name the primary knows the standby that it has to wait for.
NAME = "standby"

#: Seconds until the standby has caught up: under one on a quiet machine.
STREAM_S = 60.0

#: Seconds that a promotion may take: it ends when what was received has been replayed.
PROMOTE_S = 30

SYNCHRONOUS = "SELECT count(*) FROM pg_stat_replication WHERE application_name = %s AND sync_state = 'sync'"


@dataclass(frozen=True)
class Pair:
    """A primary and its synchronous standby."""

    #: of each server alone: for who wants that one whatever it is
    primary_dsn: str
    standby_dsn: str
    primary: Process
    standby: Process

    @property
    def dsn(self) -> str:
        """The DSN of whichever of the two takes writes."""
        first, second = urlsplit(self.primary_dsn), urlsplit(self.standby_dsn)
        hosts = f"{first.netloc},{second.netloc.rpartition('@')[2]}"
        return f"postgresql://{hosts}/{DATABASE}?target_session_attrs=read-write"

    def promote(self) -> None:
        """Make the standby the primary; raises TooLateError when that takes too long."""
        with psycopg.connect(self.standby_dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_promote(wait => false)")
            until(lambda: not _recovers(connection), within_s=PROMOTE_S, what="the standby to be promoted")


def add_standby(run: Run, primary: Postgres, *, durable: bool) -> Pair:
    """Give a running primary of ours a standby, and let its commits wait for it from now on.

    Raises:
        StackError: the copy failed, or the standby does not follow.
    """
    assert primary.process is not None, "the primary is one of ours"
    folder, port = run.folder / NAME, free_port()
    programs = find_programs(run)
    _copy(programs, primary.dsn, folder)
    process = programs.serve(run, NAME, folder, settings(port, durable=durable))
    first = urlsplit(primary.dsn)
    dsn = first._replace(netloc=f"{first.username}:{first.password}@{LOOPBACK}:{port}").geturl()
    wait_answers(dsn, process)
    with psycopg.connect(primary.dsn, autocommit=True) as connection:
        # After the copy, which would have it too: the standby, once promoted, has nobody to wait for.
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{NAME}'".encode())
        connection.execute("SELECT pg_reload_conf()")
        until(lambda: _follows(connection), within_s=STREAM_S, what="the standby to follow")
    return Pair(primary.dsn, dsn, primary.process, process)


def _copy(programs: Programs, dsn: str, folder: Path) -> None:
    """Copy the primary's data as it is now, with the way to go on from there."""
    folder.mkdir(mode=0o700)
    # In a file that only the server's account reads: `ps` would show an argument.
    secret, first = folder / "pgpass", urlsplit(dsn)
    secret.touch(mode=0o600)
    secret.write_text(f"*:*:*:{first.username}:{first.password}\n")
    programs.own(folder, secret)
    way = f"host={first.hostname} port={first.port} user={first.username} passfile={secret} application_name={NAME}"
    how = ["-d", way, "-D", str(folder / "data"), "--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf"]
    programs.run("pg_basebackup", *how, "--no-sync", cwd=folder)


def _follows(connection: psycopg.Connection[tuple[int]]) -> bool:
    row = connection.execute(SYNCHRONOUS, (NAME,)).fetchone()
    return row is not None and row[0] == 1


def _recovers(connection: psycopg.Connection[tuple[bool]]) -> bool:
    row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    return row is None or row[0]
