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


def fix(tx: Connection, name: str, value: str) -> None:
    """Fix `value` under `name` the first time, and hold it to that from then on.

    Raises:
        ConfigurationError: another value was fixed before.
    """
    tx.execute(insert(installation).values(name=name, value=value).on_conflict_do_nothing())
    found = fixed(tx, name)
    if found != value:
        raise ConfigurationError(f"{name} was fixed as {found} when this database was first used, and is {value} now")
