"""On which PostgreSQL is measured? A durable one, its log worn in, with a database for each that is measured."""

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from paidonce.app.db import sqlalchemy_url
from paidonce.app.settings import Settings
from paidonce.bench.errors import BenchError
from paidonce.devstack.debezium import LOGICAL
from paidonce.devstack.postgres import start_postgres
from paidonce.devstack.runs import Run
from paidonce.devstack.servers import take_postgres
from paidonce.migrations.upgrade import upgrade

#: Segments of 16 MB of the server's log that are there before the first round: about what a run writes.
LOG_SEGMENTS = 64
_DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
#: Rows that an update or a delete left behind, in every table whose name begins so: a partition has its own.
_DEAD = "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE relname LIKE %s"


@dataclass(frozen=True, slots=True)
class Server:
    """A durable server: its superuser's DSN, its version, its process (None: it is not ours)."""

    dsn: str
    version: str
    pid: int | None


def start(run: Run, *, logical: bool = False) -> Server:
    """Return the server that PAIDONCE_DSN names, or a fresh one, ready to be measured; `logical` as Debezium needs it.

    Raises:
        BenchError: it may lose commits.
        StackError: it did not start.
    """
    settings = Settings()
    if logical and "dsn" not in settings.model_fields_set:
        found = start_postgres(run, durable=True, more=LOGICAL)
    else:
        found = take_postgres(run, settings, durable=True)
    version = check_durable(found.dsn)
    wear_in(found.dsn)
    return Server(found.dsn, version, found.process.pid if found.process else None)


def fresh(dsn: str, name: str) -> str:
    """Make a migrated database; return its DSN."""
    found = empty(dsn, name)
    settings = Settings(dsn=found)
    engine = create_engine(sqlalchemy_url(settings), poolclass=NullPool)
    upgrade(engine, settings)
    engine.dispose()
    return found


def empty(dsn: str, name: str) -> str:
    """Make a database without anything; return its DSN."""
    return _create(dsn, name, SQL("CREATE DATABASE {}").format(Identifier(_named(name))))


def copied(dsn: str, name: str, *, template: str) -> str:
    """Make a copy of the database `template`, to which nobody is connected; return its DSN."""
    # Files as they are: through the log, as is the default, it would take several times as long.
    statement = SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    return _create(dsn, name, statement.format(Identifier(_named(name)), Identifier(_named(template))))


def drop(dsn: str, name: str) -> None:
    """Remove the database, whoever is connected."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(_named(name))))


def settle(dsn: str) -> None:
    """Leave no work for later in the database: statistics, hint bits, dirty pages."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def dead_rows(dsn: str, tables: str) -> int:
    """Return `n_dead_tup` of the tables whose names begin so."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(_DEAD, [f"{tables}%"]).fetchone()
    assert row is not None
    return int(row[0])


def check_durable(dsn: str) -> str:
    """Return the server's version.

    Raises:
        BenchError: it may lose commits: a figure from such a server would not be one.
    """
    with psycopg.connect(dsn) as connection:
        for name in _DURABLE:
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            if row != ("on",):
                raise BenchError(f"PostgreSQL has {name} {row}: no figure without durability")
        row = connection.execute("SELECT current_setting('server_version')").fetchone()
    assert row is not None
    return str(row[0])


def wear_in(dsn: str) -> None:
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


def _named(name: str) -> str:
    return f"bench_{name}_{os.getpid()}"


def _create(dsn: str, name: str, statement: psycopg.sql.Composed) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)
    return urlsplit(dsn)._replace(path=f"/{_named(name)}").geturl()
