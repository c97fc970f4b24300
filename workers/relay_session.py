"""Is this the database that we know? Asked in every new session, before a snapshot of it is used.

A restored or another server would give positions and transaction ids that contradict the recorded
windows (docs/design.md, "Relay").
"""

from typing import Any

import psycopg
from sqlalchemy import Connection, Engine

from paidonce.app import db, installation
from paidonce.app.errors import ConfigurationError, PaidonceError
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.leases import Session
from paidonce.workers.relay_recovery import ShardStoppedError
from paidonce.workers.windows import Window

#: A plan for any parameters is 600 times slower on a retained table than one for these (docs/design.md, "Relay").
OPTIONS = "-c plan_cache_mode=force_custom_plan -c timezone=UTC"

#: A window that is recorded must be durable before it is published; `remote_apply` stays.
DURABLE = """
    SELECT set_config('synchronous_commit', 'on', false)
     WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
"""
IDENTITY = "SELECT system_identifier::text, pg_is_in_recovery() FROM pg_control_system()"
BEHIND = "SELECT pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax(%s::pg_snapshot)"
#: Under synchronous replication: what we read may be gone after a failover unless we wrote after it.
CONFIRM = "SELECT pg_logical_emit_message(true, 'paidonce', 'relay')"


class StandbyError(PaidonceError):
    """This server is a standby, whose snapshots are not the primary's: connect anew."""


def open_session(settings: Settings, bind: Engine) -> Session:
    """Connect for leases and windows.

    Raises:
        StandbyError: the server is a standby, perhaps only until a failover ends.
        ConfigurationError: it is another server than the one that this database was made on.
    """
    lease_ms = int(settings.relay_lease_s * 1_000)
    session: psycopg.Connection[Any] = psycopg.connect(
        db.libpq_dsn(settings),
        autocommit=True,
        # An owner that stalls between a window's INSERT and its COMMIT must not make its successor stall too.
        options=f"{OPTIONS} -c lock_timeout={lease_ms // 4} -c idle_in_transaction_session_timeout={lease_ms}",
        connect_timeout=10,
        application_name="paidonce-relay",
    )
    try:
        session.execute(DURABLE)
        fix(bind, {"system_identifier": _identifier(session)})
    except BaseException:
        session.close()
        raise
    return session


def _identifier(session: Session) -> str:
    row = session.execute(IDENTITY).fetchone()
    assert row is not None
    if row[1]:
        raise StandbyError
    return str(row[0])


@step("relay.fix")
def fix(bind: Engine, values: dict[str, str]) -> None:
    """Hold the installation to `values`.

    Raises:
        ConfigurationError: one was fixed otherwise; nothing is published until an operator has looked.
    """
    try:
        with db.begin(bind) as tx:
            for name, value in values.items():
                installation.fix(tx, name, value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}. The relay publishes nothing; see docs/operations.md") from error


def shards_of(tx: Connection, settings: Settings) -> int:
    """Return the number of shards; raises ConfigurationError when the settings say another."""
    installation.fix(tx, "outbox_shards", str(settings.outbox_shards))
    return settings.outbox_shards


def check_clock(session: Session, newest: Window | None) -> None:
    """Refuse a server whose transaction ids are behind those of the newest window (a reloaded dump).

    Raises:
        ShardStoppedError: they are.
    """
    if newest is None:
        return
    row = session.execute(BEHIND, (newest.s2,)).fetchone()
    if row is not None and row[0]:
        raise ShardStoppedError(
            f"the server's transaction ids are behind those of window {newest.number} of shard {newest.shard}: "
            "it was reloaded from a dump, and new events would be taken for old ones. "
            "docs/operations.md says how to mend it"
        )


@step("relay.confirm")
def confirm(session: Session) -> None:
    """Write and commit, so that what was just read is at least as durable as our own commit."""
    session.execute(CONFIRM)
