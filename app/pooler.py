"""What is different behind a pooler in transaction mode? Nothing of a session lasts beyond a transaction.

So its limits are set in each transaction, nothing is prepared, and what needs a session of its own (windows, LISTEN,
the work on partitions) goes to PostgreSQL itself, by PAIDONCE_DSN_DIRECT (docs/pooler.md).
"""

from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, event

from paidonce.app.errors import ConfigurationError

#: Milliseconds that a transaction may stand still before the server ends it: a process that was stopped or cut off in
#: the middle of one would hold its locks for as long as TCP takes to notice, which is hours.
STALLED_MS = 30_000

#: The same for one transaction as `options` has for a session.
LIMIT = """
    SELECT set_config('lock_timeout', %(lock_timeout)s, true),
           set_config('idle_in_transaction_session_timeout', %(stalled)s, true)
"""

BACKEND = "SELECT pg_backend_pid()"


def options(lock_timeout_ms: int) -> str:
    """Return what limits a session that is ours alone, as libpq's `options`."""
    return f"-c lock_timeout={lock_timeout_ms} -c idle_in_transaction_session_timeout={STALLED_MS}"


def limits(lock_timeout_ms: int) -> dict[str, str]:
    """Return the parameters of LIMIT."""
    return {"lock_timeout": f"{lock_timeout_ms}ms", "stalled": f"{STALLED_MS}ms"}


def limit_each(bind: Engine, lock_timeout_ms: int) -> None:
    """Let every transaction of `bind` begin with its limits: one round trip more."""

    @event.listens_for(bind, "begin")
    def limit(tx: Connection) -> None:
        tx.exec_driver_sql(LIMIT, limits(lock_timeout_ms))


def manner(lock_timeout_ms: int, *, pooled: bool) -> dict[str, Any]:
    """Return how psycopg is to connect; behind a pooler the limits come with each transaction instead."""
    return {"prepare_threshold": None} if pooled else {"options": options(lock_timeout_ms)}


def is_between(session: psycopg.Connection[Any]) -> bool:
    """Tell whether a pooler stands before the server: the process it greeted us as is none of the server's."""
    row = session.execute(BACKEND).fetchone()
    return row is None or row[0] != session.info.backend_pid


def check_direct(session: psycopg.Connection[Any]) -> None:
    """Refuse a session that is not with PostgreSQL itself.

    Raises:
        ConfigurationError: a pooler stands between; says what to set.
    """
    if is_between(session):
        raise ConfigurationError(
            "a pooler stands before PostgreSQL, which hides from a session that the server crashed: set "
            "PAIDONCE_DSN_DIRECT to PostgreSQL itself (docs/pooler.md)"
        )
