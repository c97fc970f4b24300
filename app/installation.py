"""What was fixed when this database was first used? Shards, the server's identity, partition counts.

A value that is found different later means a wrong setting or another server, and is refused
loudly (docs/design.md, "Relay"). Home of the table `installation`.
"""

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.errors import ConfigurationError
from paidonce.app.tables import installation


def fixed(tx: Connection, name: str) -> str | None:
    """Return what was fixed under `name`; None when nothing was."""
    value: str | None = tx.scalar(select(installation.c.value).where(installation.c.name == name))
    return value


def shards(tx: Connection) -> int:
    """Return how many shards the outbox has: whoever only reads it goes by this, not by a setting of its own.

    Raises:
        ConfigurationError: none were fixed, so there is no outbox.
    """
    found = fixed(tx, "outbox_shards")
    if found is None:
        raise ConfigurationError("this database has no outbox: run `paidonce migrate`, or set PAIDONCE_DSN")
    return int(found)


def change(tx: Connection, name: str, value: str) -> None:
    """Fix `value` under `name` in another's place: for an operator who knows better than the first use."""
    tx.execute(
        insert(installation)
        .values(name=name, value=value)
        .on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )


def names(tx: Connection, prefix: str) -> list[str]:
    """Return what follows `prefix` in the names under which something was fixed."""
    found = tx.scalars(select(installation.c.name).where(installation.c.name.startswith(prefix, autoescape=True)))
    return sorted(name.removeprefix(prefix) for name in found)


def fix(tx: Connection, name: str, value: str) -> None:
    """Fix `value` under `name` the first time, and hold it to that from then on.

    Raises:
        ConfigurationError: another value was fixed before.
    """
    tx.execute(insert(installation).values(name=name, value=value).on_conflict_do_nothing())
    found = fixed(tx, name)
    if found != value:
        raise ConfigurationError(f"{name} was fixed as {found} when this database was first used, and is {value} now")
