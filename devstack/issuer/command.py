"""What do the commands of `paidonce issuer` do with its database? PAIDONCE_ISSUER_DSN names it, as for the issuer."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import SecretStr
from sqlalchemy import Connection

from paidonce.app.db import begin, engine
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.devstack.issuer import events as noticed
from paidonce.devstack.issuer import people, tables
from paidonce.devstack.issuer.clients import TENANTS
from paidonce.devstack.issuer.events import Event
from paidonce.devstack.issuer.people import NAME_CHARS_MAX, PASSWORD_CHARS_MAX, Person


def events(count: int) -> Sequence[Event]:
    """Return the newest events; raises ConfigurationError without a database."""
    with _opened() as tx:
        return noticed.newest(tx, count)


def put_person(name: str, tenant: str, roles: tuple[str, ...], password: str) -> None:
    """Add or change a person.

    Raises:
        ConfigurationError: without a database, or when one of these cannot be.
    """
    if tenant not in TENANTS:
        raise ConfigurationError(f"--tenant is one of {', '.join(TENANTS)}")
    if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise ConfigurationError(f"the name has 1 to {NAME_CHARS_MAX} printable characters")
    if not 0 < len(password) <= PASSWORD_CHARS_MAX:
        raise ConfigurationError(f"the password has 1 to {PASSWORD_CHARS_MAX} characters")
    with _opened() as tx:
        people.put(tx, Person(name, tenant, roles), password)


@contextmanager
def _opened() -> Iterator[Connection]:
    dsn = os.environ.get("PAIDONCE_ISSUER_DSN")
    if not dsn:
        raise ConfigurationError("PAIDONCE_ISSUER_DSN names no database: set it as it is set for the issuer")
    bind = engine(Settings(dsn=SecretStr(dsn)), size=1)
    try:
        with begin(bind) as tx:
            tables.make(tx)
            yield tx
    finally:
        bind.dispose()
