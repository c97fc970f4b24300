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

#: Any number that nobody else in this database uses: the advisory lock of migrations.
MIGRATION_LOCK = 7_241_431_952


def upgrade(bind: Engine, settings: Settings) -> None:
    """Bring the schema to the newest version, alone, and make the partitions that are missing."""
    with bind.begin() as tx:
        tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        _run(tx, settings)
    today = SystemClock().now().date()
    partitions.ensure(bind, today, ahead_d=settings.partitions_ahead_d, behind_d=settings.inbox_retention_d)


def _run(tx: Connection, settings: Settings) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = tx
    config.attributes["settings"] = settings
    command.upgrade(config, "head")
