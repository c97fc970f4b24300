"""Do PAIDONCE_DSN and PAIDONCE_DSN_DIRECT lead where they must: through a pooler in transaction mode, and past it?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from paidonce.app import db, pooler
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings

#: Which database of which server this is; a copy of it on another server has another identifier.
WHICH = "SELECT system_identifier::text, current_database() FROM pg_control_system()"
#: Milliseconds of a limit that nobody sets otherwise.
LIMIT_MS = 4_321


def check(settings: Settings) -> str:
    """Windows, LISTEN and partitions have PostgreSQL itself, and a pooler keeps whole transactions.

    Raises:
        ConfigurationError: they have not; says which setting to change.
    """
    with _session(settings, "PAIDONCE_DSN_DIRECT" if settings.pooled else "PAIDONCE_DSN", direct=True) as session:
        if pooler.is_between(session):
            raise ConfigurationError(_too_late(settings))
        there = session.execute(WHICH).fetchone()
    if not settings.pooled:
        return "none stands before PostgreSQL"
    with _session(settings, "PAIDONCE_DSN", direct=False) as session:
        if session.execute(WHICH).fetchone() != there:
            raise ConfigurationError(
                "PAIDONCE_DSN and PAIDONCE_DSN_DIRECT lead to different databases: make them lead to the same"
            )
        if not pooler.is_between(session):
            return "PAIDONCE_DSN leads to PostgreSQL itself, so PAIDONCE_DSN_DIRECT is not needed"
        _check_mode(session)
    return "PAIDONCE_DSN leads to a pooler, PAIDONCE_DSN_DIRECT past it"


def _too_late(settings: Settings) -> str:
    if settings.pooled:
        return "PAIDONCE_DSN_DIRECT leads to a pooler, too: set it to PostgreSQL itself"
    return (
        "PAIDONCE_DSN leads to a pooler, where LISTEN does not work and a crash of the server goes unseen: set "
        "PAIDONCE_DSN_DIRECT to PostgreSQL itself (docs/pooler.md)"
    )


def _check_mode(session: psycopg.Connection[Any]) -> None:
    try:
        with session.transaction():
            session.execute(pooler.LIMIT, pooler.limits(LIMIT_MS))
            row = session.execute("SELECT setting FROM pg_settings WHERE name = 'lock_timeout'").fetchone()
    except psycopg.Error as error:
        raise ConfigurationError(
            f"the pooler of PAIDONCE_DSN takes no transactions ({_first_line(error)}): set its pool_mode to transaction"
        ) from error
    if row is None or row[0] != str(LIMIT_MS):
        raise ConfigurationError(
            "the pooler of PAIDONCE_DSN spreads one transaction over several sessions: set its pool_mode to transaction"
        )


@contextmanager
def _session(settings: Settings, name: str, *, direct: bool) -> Iterator[psycopg.Connection[Any]]:
    try:
        session = psycopg.connect(db.libpq_dsn(settings, direct=direct), autocommit=True, prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise ConfigurationError(f"{name} does not answer ({_first_line(error)}): start it, or set {name}") from error
    with session:
        yield session


def _first_line(error: psycopg.Error) -> str:
    return str(error).splitlines()[0]
