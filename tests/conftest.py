"""The servers that the tests run on: real ones, started once, in a folder that is gone afterwards.

Another place than this machine: PAIDONCE_DSN, PAIDONCE_KAFKA, PAIDONCE_VALKEY name running servers,
PAIDONCE_STACK=containers takes them from a Docker engine.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from paidonce.app.db import sqlalchemy_url
from paidonce.app.settings import Settings
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.pace import PACE, new_secret
from paidonce.devstack.postgres import Postgres
from paidonce.devstack.runs import Run
from paidonce.devstack.servers import take_kafka, take_postgres, take_valkey
from paidonce.devstack.valkey import Valkey
from paidonce.migrations.upgrade import upgrade

#: Where Linux keeps files in memory. On a disk, a database that is made after another one was dropped takes fifteen
#: times as long (250 ms beside 16): ext4 goes past every inode that was freed of late.
MEMORY = "/dev/shm"
#: Bytes that must be free there: two servers of each kind, and what the tests write.
MEMORY_MIN = 6 * 2**30


def pytest_configure() -> None:
    """A SIGTERM ends the session as Ctrl-C does, so that the servers are stopped; what they write stays in memory."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "TMPDIR" not in os.environ and _takes_our_files(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = MEMORY


def _takes_our_files(folder: str) -> bool:
    """Tell whether it has room for them, and lets programs run that lie there."""
    try:
        runs = not os.statvfs(folder).f_flag & os.ST_NOEXEC
        return runs and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= MEMORY_MIN
    except OSError:
        return False


@contextmanager
def _created(postgres: Postgres, options: str) -> Iterator[str]:
    name = f"paidonce_{uuid4().hex[:12]}"
    _execute(postgres, f"CREATE DATABASE {name} {options}")
    try:
        yield urlsplit(postgres.dsn)._replace(path=f"/{name}").geturl()
    finally:
        _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(postgres: Postgres, statement: str) -> None:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """The session's folder and processes; what a killed session left is ended first."""
    with Run() as started:
        yield started


@pytest.fixture(scope="session")
def postgres(run: Run) -> Postgres:
    """A PostgreSQL; `.dsn` may create databases."""
    return take_postgres(run, Settings(), durable=False)


@pytest.fixture(scope="session")
def kafka(run: Run) -> Kafka:
    """An Apache Kafka at `.bootstrap`; it makes no topic by itself."""
    return take_kafka(run, Settings())


@pytest.fixture(scope="session")
def valkey(run: Run) -> Valkey:
    """A Valkey at `.url`."""
    return take_valkey(run, Settings())


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> Iterator[str]:
    """The name of a migrated database that every test's is copied from."""
    with _created(postgres, "") as dsn:
        settings = Settings(dsn=dsn)
        engine = create_engine(sqlalchemy_url(settings), poolclass=NullPool)
        upgrade(engine, settings)
        engine.dispose()
        yield urlsplit(dsn).path[1:]


@pytest.fixture
def database(postgres: Postgres, template: str) -> Iterator[str]:
    """The DSN of a fresh migrated database."""
    with _created(postgres, f"TEMPLATE {template}") as dsn:
        yield dsn


@pytest.fixture
def topic() -> str:
    """The name of a topic that does not exist yet: who needs it makes it."""
    return f"payments-{uuid4().hex[:12]}"


@pytest.fixture
def settings(database: str, kafka: Kafka, valkey: Valkey, topic: str) -> Settings:
    """Settings for the fresh database, the servers and the topic, with short leases."""
    return Settings(
        dsn=database,
        kafka=kafka.bootstrap,
        valkey=valkey.url,
        topic=topic,
        relay_name=f"relay-{topic}",
        provider_secret=new_secret(),
        **PACE,
    )
