"""How does a command reach the database, and who gave it? One connection, after a look at the schema; an account."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.audit import By
from paidonce.app.settings import Settings


@contextmanager
def opened(settings: Settings) -> Iterator[Engine]:
    """Give an engine for one command.

    Raises:
        SchemaVersionError: the database has another schema version than this program.
    """
    bind = db.engine(settings, size=1)
    try:
        with bind.connect() as tx:
            db.check_schema(tx)
        yield bind
    finally:
        bind.dispose()


def by(reason: str) -> By:
    """Return who gives this command, for the audit: the account that the shell runs under."""
    try:
        actor = getpass.getuser()
    except (OSError, KeyError):  # KeyError before Python 3.13
        actor = f"uid {os.getuid()}"  # a container's user may have no name
    return By(actor, "command line", reason)
