"""An event of one's own leaves with the transaction that it was written in, whatever holds that transaction."""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from pydantic import BaseModel, Field
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from paidonce import effects, outbox
from paidonce.app.db import sqlalchemy_url
from paidonce.app.errors import ConfigurationError

ROWS = "SELECT id::text, aggregatetype, aggregateid, type, sequence, payload, headers FROM outbox"


class OrderPlaced(BaseModel):
    order: str
    item: str = Field(alias="article")


PLACED = OrderPlaced(order="o-1", article="tea")
WRITTEN = ("order", "o-1", "order.placed", 3, b'{"order":"o-1","article":"tea"}', {"traceparent": "00-1"})
ARGUMENTS = ("order.placed", "o-1", PLACED)
MORE = {"sequence": 3, "headers": {"traceparent": "00-1"}}


@pytest.fixture
def bind(settings) -> Iterator[Engine]:
    made = create_engine(sqlalchemy_url(settings))
    yield made
    made.dispose()


@pytest.fixture(params=["psycopg", "asyncpg"])
async def async_bind(settings, request) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(make_url(settings.dsn.get_secret_value()).set(drivername=f"postgresql+{request.param}"))
    yield made
    await made.dispose()


def rows(database: str, statement: str = ROWS) -> list:
    with psycopg.connect(database) as tx:
        return tx.execute(statement).fetchall()


def begun(how: str, database: str, bind: Engine):
    if how == "psycopg":
        return psycopg.connect(database)
    return Session(bind) if how == "session" else bind.connect()


@pytest.mark.parametrize("how", ["psycopg", "session", "connection"])
def test_it_is_there_with_the_commit_and_never_without(how, database, bind) -> None:
    tx = begun(how, database, bind)
    outbox.append(tx, *ARGUMENTS, **MORE)
    effects.enqueue(tx, "receipt", "o-1", PLACED)
    tx.rollback()
    assert rows(database) == []
    id_ = outbox.append(tx, *ARGUMENTS, **MORE)
    assert rows(database) == [], "nobody but the caller commits"
    tx.commit()
    tx.close()
    assert rows(database) == [(str(id_), *WRITTEN)]


@pytest.mark.parametrize("how", ["session", pytest.param("connection", marks=pytest.mark.slow)])
async def test_on_asyncio_with_either_driver(how, database, async_bind) -> None:
    async with AsyncSession(async_bind) if how == "session" else async_bind.connect() as tx:
        await outbox.append_async(tx, *ARGUMENTS)
        await effects.enqueue_async(tx, "receipt", "o-1", PLACED)
        await tx.rollback()
        assert rows(database) == []
        id_ = await outbox.append_async(tx, *ARGUMENTS, **MORE)
        for _ in range(2):
            await effects.enqueue_async(tx, "receipt", "o-1", PLACED)
        await tx.commit()
    assert rows(database) == [(str(id_), *WRITTEN)]
    assert rows(database, "SELECT kind, subject, request FROM effects") == [("receipt", "o-1", WRITTEN[4])]


@pytest.mark.slow
async def test_on_asyncio_with_psycopg_alone(database) -> None:
    async with await psycopg.AsyncConnection.connect(database) as tx:
        id_ = await outbox.append_async(tx, *ARGUMENTS, **MORE)
        await effects.enqueue_async(tx, "receipt", "o-1", {"order": "o-1"})
    assert rows(database) == [(str(id_), *WRITTEN)]
    assert rows(database, "SELECT request FROM effects") == [(b'{"order":"o-1"}',)]


def test_a_connection_that_commits_each_statement_is_refused(database, settings) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        with pytest.raises(ConfigurationError, match="begin a transaction"):
            outbox.append(connection, *ARGUMENTS)
        with connection.transaction():
            outbox.append(connection, *ARGUMENTS)
    engine = create_engine(sqlalchemy_url(settings), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(ConfigurationError, match="begin a transaction"):
        effects.enqueue(connection, "receipt", "o-1", b"{}")
    engine.dispose()
    assert len(rows(database)) == 1


@pytest.mark.slow
async def test_so_is_one_on_asyncio(database) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        with pytest.raises(ConfigurationError, match="begin a transaction"):
            await outbox.append_async(connection, *ARGUMENTS)
    assert rows(database) == []


@pytest.mark.slow
def test_after_a_statement_that_failed_the_transaction_is_still_the_callers(database, bind) -> None:
    with bind.begin() as tx:
        outbox.append(tx, *ARGUMENTS)
        with tx.begin_nested() as savepoint:
            outbox.append(tx, *ARGUMENTS)
            tx.execute(text("SELECT 1"))
            savepoint.rollback()
    assert len(rows(database)) == 1
