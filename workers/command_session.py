"""How does a command reach the database? By one connection, after a look at the schema's version."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from paidonce.app import db
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
