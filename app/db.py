"""How do we reach PostgreSQL? One engine for ordinary queries, one psycopg pool for the hot statements.

Functions that take a `Connection` never commit: the edge does (docs/design.md, "Layout"). They
are plain functions; code on asyncio calls them through `AsyncConnection.run_sync`, so there is
one version of each, not two.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection as PsycopgConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from paidonce.app import pooler
from paidonce.app.errors import AwayError, CommitUnknownError, SchemaVersionError
from paidonce.app.patience import Patient, PatientAsync
from paidonce.app.settings import Settings

#: The migration that this program was written for; migrations/versions holds it.
SCHEMA_VERSION = "0016"

#: READ COMMITTED: at REPEATABLE READ the loser of a claim gets SQLSTATE 40001 instead of the winner's row.
ISOLATION = "READ COMMITTED"

#: What a connection has unless the DSN says otherwise: a host that is gone without a word (its packets vanish) is given
#: up after 5 s of silence at the connect, and after about 11 s later. The kernel's own times are 2 minutes and 2 hours,
#: and the next host of the DSN is asked only then.
SILENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "11000",
}
#: Seconds that the API waits for the answer to a statement: above every wait for a lock and every slow COMMIT that a
#: client would still wait for. Afterwards the outcome is unknown (503), and the client asks again under its key.
ANSWER_S = 10.0
#: Seconds of the workers: their statements write hundreds of rows, and may wait for a standby.
WORKER_ANSWER_S = 60.0
#: Seconds that the hot pool tries to replace a lost connection by itself, twice. Afterwards the next request does:
#: the pool's own tries come ever less often, and after a long outage would keep us away from a healed server.
RECONNECT_S = 1.0

#: Errors of the server that say "try the same again": serialization, deadlock, lock time-out, canceled, read-only
#: (a standby), time limits of transaction and idle session; and two classes: no resources, operator intervention.
TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "57014", "25006", "25P03", "25P04"})
TRANSIENT_CLASSES = ("08", "53", "57P")
#: What psycopg raises without a word of the server's when a connection is gone. InternalError: a pooler told of the
#: server's end unasked, and there were two answers to one command.
CUT_OFF = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)


def libpq_dsn(settings: Settings, *, direct: bool = False) -> str:
    """Return the DSN for psycopg, with the time limits that it does not set itself; `direct`: past any pooler."""
    dsn = ((settings.dsn_direct if direct else None) or settings.dsn).get_secret_value()
    said = conninfo_to_dict(dsn)
    return make_conninfo(dsn, **{name: value for name, value in SILENCE.items() if name not in said})


def sqlalchemy_url(settings: Settings) -> URL:
    """Return the same for SQLAlchemy, which reads several hosts only in the query of its own URLs."""
    said = {name: str(value) for name, value in conninfo_to_dict(libpq_dsn(settings)).items()}
    user, password, database = (said.pop(name, None) for name in ("user", "password", "dbname"))
    return URL.create("postgresql+psycopg", user, password, database=database, query=said)


def engine(
    settings: Settings,
    *,
    size: int = 4,
    lock_timeout_ms: int = 0,
    silence_s: float | None = None,
    direct: bool = False,
) -> Engine:
    """Return an engine for a worker, which waits `lock_timeout_ms` for a row's lock (0: without end).

    It hangs up on a server that says nothing for `silence_s` seconds (None: never); `direct` as in `libpq_dsn`.
    """
    pooled = settings.pooled and not direct

    def connect() -> Patient:
        how = pooler.manner(lock_timeout_ms, pooled=pooled)
        connection = Patient.connect(libpq_dsn(settings, direct=direct), **how)
        connection.silence_s = silence_s
        return connection

    made = create_engine(
        sqlalchemy_url(settings), isolation_level=ISOLATION, pool_size=size, pool_pre_ping=True, creator=connect
    )
    if pooled:
        pooler.limit_each(made, lock_timeout_ms)
    return made


def async_engine(
    settings: Settings, *, size: int, lock_timeout_ms: int = 0, silence_s: float = ANSWER_S
) -> AsyncEngine:
    """Return an engine for code on asyncio; the others as in `engine`."""

    async def connect() -> PatientAsync:
        how = pooler.manner(lock_timeout_ms, pooled=settings.pooled)
        connection = await PatientAsync.connect(libpq_dsn(settings), **how)
        connection.silence_s = silence_s
        return connection

    made = create_async_engine(
        sqlalchemy_url(settings),
        isolation_level=ISOLATION,
        pool_size=size,
        max_overflow=0,
        pool_timeout=settings.api_pool_wait_s,
        pool_pre_ping=True,
        async_creator=connect,
    )
    if settings.pooled:
        pooler.limit_each(made.sync_engine, lock_timeout_ms)
    return made


def hot_pool(settings: Settings, *, lock_timeout_ms: int, silence_s: float = ANSWER_S) -> AsyncConnectionPool:
    """Return a closed pool of autocommitting connections for statements that are transactions by themselves.

    Behind a pooler they wait for locks without end: whoever must not begins a transaction with its limits.
    """
    # What runs often is prepared at once, where the session lasts.
    prepared = {"prepare_threshold": 0} | pooler.manner(lock_timeout_ms, pooled=settings.pooled)

    async def bound(connection: PsycopgConnection[Any]) -> None:
        assert isinstance(connection, PatientAsync)
        connection.silence_s = silence_s

    return AsyncConnectionPool(
        libpq_dsn(settings),
        connection_class=PatientAsync,
        configure=bound,
        min_size=min(2, settings.api_connections_max),
        max_size=settings.api_connections_max,
        timeout=settings.api_pool_wait_s,
        reconnect_timeout=RECONNECT_S,
        open=False,
        kwargs={"autocommit": True} | prepared,
    )


@contextmanager
def begin(bind: Engine) -> Iterator[Connection]:
    """Open a transaction and commit it at the end.

    Raises:
        CommitUnknownError: the COMMIT got no answer, so it may or may not have happened.
    """
    with bind.connect() as tx:
        yield tx
        try:
            tx.commit()
        except DBAPIError as error:
            if was_refused(error):
                raise
            raise CommitUnknownError from error


@asynccontextmanager
async def begin_async(bind: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction on asyncio and commit it at the end; raises as `begin` does."""
    async with bind.connect() as tx:
        yield tx
        try:
            await tx.commit()
        except DBAPIError as error:
            if was_refused(error):
                raise
            raise CommitUnknownError from error


def was_refused(error: BaseException) -> bool:
    """Tell whether the server answered with an error, so nothing was written; cut off or shut down, nobody knows."""
    state = sqlstate(error)
    return state is not None and not state.startswith(("08", "57P"))


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of a psycopg or SQLAlchemy error; None when the server sent none."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None


def is_transient(error: BaseException) -> bool:
    """Tell whether the same transaction may succeed when it is run again."""
    state = sqlstate(error)
    if state is not None:
        return state in TRANSIENT_STATES or state.startswith(TRANSIENT_CLASSES)
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, (*CUT_OFF, CommitUnknownError, AwayError))


def check_schema(tx: Connection) -> None:
    """Refuse a database of another schema version.

    Raises:
        SchemaVersionError: names both versions and what to do.
    """
    exists = tx.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    found = tx.scalar(text("SELECT version_num FROM alembic_version")) if exists else None
    if found != SCHEMA_VERSION:
        raise SchemaVersionError(
            f"the database has schema version {found or 'none'}, this program needs {SCHEMA_VERSION}: "
            + ("run `paidonce migrate`" if (found or "") < SCHEMA_VERSION else "run a newer paidonce")
        )
