"""How does a database get its schema? `paidonce migrate`: every missing step, in one transaction.

A second run is a no-op; of two at once one waits for the other. There is no way back: a step
that was wrong is mended by another step (docs/design.md, "Schema").
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from paidonce.app.clock import SystemClock
from paidonce.app.messaging import partitions
from paidonce.app.settings import Settings
from paidonce.migrations import roles

#: Any number that nobody else in this database uses: the advisory lock of migrations.
MIGRATION_LOCK = 7_241_431_952


def upgrade(bind: Engine, settings: Settings, *, with_roles: bool = False) -> None:
    """Bring the schema to the newest version, alone, and make the partitions that are missing.

    A database that has roles, or is given them (`with_roles`), has every right of theirs afterwards, and no other.

    Raises:
        ConfigurationError: whoever migrates may not give them; nothing was changed then.
    """
    with bind.begin() as tx:
        tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        _run(tx, settings)
        if with_roles or roles.are_given(tx):
            roles.give(tx)
    today = SystemClock().now().date()
    partitions.ensure(bind, today, ahead_d=settings.partitions_ahead_d, behind_d=settings.inbox_retention_d)


def _run(tx: Connection, settings: Settings) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = tx
    config.attributes["settings"] = settings
    command.upgrade(config, "head")
