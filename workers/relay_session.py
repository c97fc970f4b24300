"""Is this the database that we know? Asked in every new session, before a snapshot of it is used.

A restored or another server would give positions and transaction ids that contradict the recorded
windows (docs/design.md, "Relay").
"""

from typing import Any

import psycopg
from sqlalchemy import Connection, Engine

from paidonce.app import db, installation, pooler
from paidonce.app.errors import ConfigurationError, PaidonceError
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.leases import Session
from paidonce.workers.relay_recovery import ShardStoppedError
from paidonce.workers.windows import Window

#: A plan for any parameters is 600 times slower on a retained table than one for these (docs/design.md, "Relay").
#: Without statistics, as after a flood, the planner would sort or collect all that waits for each window, instead of
#: walking an index up to the window's limit.
PLANS = "-c plan_cache_mode=force_custom_plan -c enable_sort=off -c enable_bitmapscan=off -c jit=off"
OPTIONS = f"{PLANS} -c timezone=UTC"

#: The name under which the installation keeps its server's system identifier.
SERVER = "system_identifier"

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


class OtherServerError(ShardStoppedError, ConfigurationError):
    """The database is on another server than the one that it was first used on: every shard stands still."""


#: What passes: a failover ends, or an operator mends.
WRONG_SERVER = (OtherServerError, StandbyError)


def open_session(settings: Settings, bind: Engine) -> Session:
    """Connect for leases and windows.

    Raises:
        StandbyError: the server is a standby, perhaps only until a failover ends.
        OtherServerError: it is another server than the one that this database was first used on.
        ConfigurationError: a pooler stands before it.
    """
    lease_ms = int(settings.relay_lease_s * 1_000)
    session: psycopg.Connection[Any] = psycopg.connect(
        db.libpq_dsn(settings, direct=True),
        autocommit=True,
        # An owner that stalls between a window's INSERT and its COMMIT must not make its successor stall too.
        options=f"{OPTIONS} -c lock_timeout={lease_ms // 4} -c idle_in_transaction_session_timeout={lease_ms}",
        application_name="paidonce-relay",
    )
    try:
        # Behind one a crash of the server would go unseen, and a snapshot in memory be used beyond it.
        pooler.check_direct(session)
        session.execute(DURABLE)
        _check_server(session, bind)
    except BaseException:
        session.close()
        raise
    return session


def identify(session: Session) -> tuple[str, bool]:
    """Return the server's system identifier, and whether it is a standby."""
    row = session.execute(IDENTITY).fetchone()
    assert row is not None
    return str(row[0]), bool(row[1])


def _check_server(session: Session, bind: Engine) -> None:
    identifier, is_standby = identify(session)
    if is_standby:
        raise StandbyError
    try:
        fix(bind, {SERVER: identifier})
    except ConfigurationError as error:
        raise OtherServerError(f"{error}. `paidonce outbox repair` explains and mends it") from error


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
        raise ConfigurationError(f"{error}. The relay publishes nothing (docs/operations.md)") from error


def shards_of(tx: Connection, settings: Settings) -> int:
    """Return the number of shards; raises ConfigurationError when the settings say another."""
    installation.fix(tx, "outbox_shards", str(settings.outbox_shards))
    return settings.outbox_shards


def check_clock(session: Session, newest: Window | None) -> None:
    """Refuse a server whose transaction ids are behind those of the newest window (a reloaded dump).

    Raises:
        ShardStoppedError: they are.
    """
    if newest is not None and is_behind(session, newest):
        raise ShardStoppedError(
            f"the server's transaction ids are behind those of window {newest.number} of shard {newest.shard}: "
            "it was reloaded from a dump, and new events would be taken for old ones. "
            "`paidonce outbox repair` explains and mends it (docs/operations.md)"
        )


def is_behind(session: Session, newest: Window) -> bool:
    """Tell whether the server's transaction ids are behind those of the window."""
    row = session.execute(BEHIND, (newest.s2,)).fetchone()
    return row is not None and bool(row[0])


@step("relay.confirm")
def confirm(session: Session) -> None:
    """Write and commit, so that what was just read is at least as durable as our own commit."""
    session.execute(CONFIRM)
