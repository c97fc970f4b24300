"""How does a statement of ours get into a transaction of yours? Over your own connection, which we never commit."""

import re
from collections.abc import Mapping

import psycopg
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from paidonce.app.errors import ConfigurationError

#: What holds a transaction of yours; SQLAlchemy's over any driver of PostgreSQL.
Transaction = Connection | Session | psycopg.Connection
AsyncTransaction = AsyncConnection | AsyncSession | psycopg.AsyncConnection

Parameters = Mapping[str, str | int | bytes]


def execute(tx: Transaction, statement: str, parameters: Parameters) -> None:
    """Run `statement`, whose parameters are `%(name)s`.

    Raises:
        ConfigurationError: the connection commits each statement by itself.
    """
    if isinstance(tx, psycopg.Connection):
        _check(tx)
        tx.execute(statement.encode(), parameters)
        return
    connection = tx.connection() if isinstance(tx, Session) else tx
    if getattr(connection.connection.driver_connection, "autocommit", False):
        raise ConfigurationError(NO_TRANSACTION)
    connection.execute(_for_any_driver(statement), parameters)


async def execute_async(tx: AsyncTransaction, statement: str, parameters: Parameters) -> None:
    """Do the same on asyncio."""
    if isinstance(tx, psycopg.AsyncConnection):
        _check(tx)
        await tx.execute(statement.encode(), parameters)
        return
    await tx.run_sync(execute, statement, parameters)


NO_TRANSACTION = "this connection commits each statement by itself: begin a transaction, with your own rows in it"


def _check(tx: psycopg.Connection | psycopg.AsyncConnection) -> None:
    """psycopg's `transaction()` begins one on a connection that autocommits, too."""
    if tx.autocommit and tx.info.transaction_status is psycopg.pq.TransactionStatus.IDLE:
        raise ConfigurationError(NO_TRANSACTION)


def _for_any_driver(statement: str) -> TextClause:
    return text(re.sub(r"%\((\w+)\)s", r":\1", statement))
