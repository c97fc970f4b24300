"""The schema: the same in app/tables.py and in the migrations, made once however often and by however many."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from paidonce.app.db import SCHEMA_VERSION, check_schema, sqlalchemy_url
from paidonce.app.errors import SchemaVersionError
from paidonce.app.settings import Settings
from paidonce.app.tables import metadata
from paidonce.devstack.postgres import Postgres
from paidonce.migrations.upgrade import upgrade


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[Settings]:
    """Settings for a database with nothing in it."""
    name = f"paidonce_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield Settings(dsn=urlsplit(postgres.dsn)._replace(path=f"/{name}").geturl())
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def bind(empty: Settings) -> Iterator[Engine]:
    engine = create_engine(sqlalchemy_url(empty), poolclass=NullPool)
    yield engine
    engine.dispose()


def catalog(bind: Engine) -> list[Any]:
    """Every relation with its file: a table that was made again has another."""
    with bind.connect() as tx:
        return [
            *tx.execute(text("SELECT relname, relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace"))
        ]


def test_a_second_migration_changes_nothing(bind: Engine, empty: Settings) -> None:
    upgrade(bind, empty)
    before = catalog(bind)
    upgrade(bind, empty)
    assert catalog(bind) == before
    with bind.connect() as tx:
        check_schema(tx)


def test_of_many_at_once_one_does_it(bind: Engine, empty: Settings) -> None:
    with ThreadPoolExecutor(4) as together:
        list(together.map(lambda _: upgrade(bind, empty), range(4)))
    with bind.connect() as tx:
        assert tx.scalar(text("SELECT version_num FROM alembic_version")) == SCHEMA_VERSION


@pytest.mark.parametrize(("version", "advice"), [("0001", "paidonce migrate"), ("9999", "newer paidonce")])
def test_another_version_is_refused_with_what_to_do(bind: Engine, empty: Settings, version: str, advice: str) -> None:
    with bind.connect() as tx, pytest.raises(SchemaVersionError, match="paidonce migrate"):
        check_schema(tx)
    upgrade(bind, empty)
    with bind.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
    with bind.connect() as tx, pytest.raises(SchemaVersionError, match=advice):
        check_schema(tx)


@pytest.mark.filterwarnings("ignore:Did not recognize type")  # of xid8 and pg_snapshot, which only we use
def test_the_migrations_make_what_the_tables_say(bind: Engine, empty: Settings) -> None:
    upgrade(bind, empty)

    def ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        partition = kind == "table" and name is not None and name[-8:].isdigit()
        return not partition and name != "alembic_version"

    with bind.connect() as tx:
        context = MigrationContext.configure(tx, opts={"include_object": ours, "compare_type": True})
        differences = compare_metadata(context, metadata)
    assert differences == []
