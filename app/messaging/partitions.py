"""Into which daily partitions do outbox and inbox go, and how does one come and go without blocking a writer?

An `outbox` row's day is that of `created_at`, an `inbox` row's that of the time in its UUIDv7
(RFC 9562, section 5.7), so that the inbox's key stays unique. Plain CREATE … PARTITION OF, DETACH
and DROP queue behind one idle writer and block every insert after them; CREATE … LIKE + ATTACH
and DETACH CONCURRENTLY do not (docs/design.md, "Outbox").
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine, text

from paidonce.app.db import begin
from paidonce.app.steps import step

Partitioned = Literal["outbox", "inbox"]

#: Waiting for the lock of ATTACH (SHARE UPDATE EXCLUSIVE) hinders no reader or writer; it only waits for its like.
ATTACH_LOCK_TIMEOUT = "10s"

#: An outbox row is never older than its transaction: yesterday's partition serves those that began before midnight.
OUTBOX_BEHIND_D = 1

LOCK = "LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE"
CREATE = "CREATE TABLE {name} (LIKE {table} INCLUDING ALL EXCLUDING IDENTITY)"
ATTACH = "ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}')"
ATTACHED = """
    SELECT child.relname, link.inhdetachpending
      FROM pg_inherits link
      JOIN pg_class child ON child.oid = link.inhrelid
     WHERE link.inhparent = CAST(:table AS regclass)
     ORDER BY child.relname
"""
DETACH = "ALTER TABLE {table} DETACH PARTITION {name} CONCURRENTLY"
FINALIZE = "ALTER TABLE {table} DETACH PARTITION {name} FINALIZE"
DROP = "DROP TABLE {name}"
LOOSE = """
    SELECT relname FROM pg_class
     WHERE relkind = 'r' AND NOT relispartition AND relname ~ :pattern
       AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = CAST(:table AS regclass))
     ORDER BY relname
"""
#: When a prepared transaction began is not known, so while there is one, some transaction may have begun long ago.
QUIET_SINCE = """
    SELECT NOT EXISTS (SELECT FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()
                          AND backend_type <> 'autovacuum worker' AND xact_start < :moment)
       AND NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database())
"""
NEWEST_ARRIVAL = "SELECT max(arrived_at) FROM {name}"


def ensure(bind: Engine, today: date, *, ahead_d: int, behind_d: int) -> int:
    """Make the partitions that are missing around `today` (UTC); return how many were made.

    `outbox` reaches from yesterday, `inbox` from `behind_d` days ago, both to `ahead_d` days from
    now. Idempotent, and of two at once one waits for the other.
    """
    ahead = today + timedelta(days=ahead_d)
    made = _ensure(bind, "outbox", today - timedelta(days=min(behind_d, OUTBOX_BEHIND_D)), ahead)
    return made + _ensure(bind, "inbox", today - timedelta(days=behind_d), ahead)


def name_of(table: Partitioned, day: date) -> str:
    """Return the partition's name, `outbox_20261123`."""
    return f"{table}_{day:%Y%m%d}"


def day_of(name: str) -> date:
    """Return the UTC day that the partition `name` holds."""
    return datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC).date()


def midnight(day: date) -> datetime:
    """Return the first moment of `day`, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def uuid_floor(moment: datetime) -> UUID:
    """Return the smallest UUID whose first 48 bits are `moment` in milliseconds (UUIDv7's time)."""
    return UUID(int=round(moment.timestamp() * 1000) << 80)


def attached(tx: Connection, table: Partitioned) -> dict[date, bool]:
    """Return the day of each partition, oldest first, and whether its DETACH was begun and is unfinished."""
    return {day_of(name): pending for name, pending in tx.execute(text(ATTACHED), {"table": table})}


def loose(tx: Connection, table: Partitioned) -> list[date]:
    """Return the days of partitions that were detached and not yet dropped, oldest first."""
    return [day_of(name) for (name,) in tx.execute(text(LOOSE), {"table": table, "pattern": rf"^{table}_\d{{8}}$"})]


def quiet_since(tx: Connection, moment: datetime) -> bool:
    """Tell whether every open transaction began at `moment` or later."""
    return bool(tx.scalar(text(QUIET_SINCE), {"moment": moment}))


def newest_arrival(tx: Connection, day: date) -> datetime | None:
    """Return when the last message came into the inbox partition of `day`; None for an empty one."""
    arrived_at: datetime | None = tx.scalar(text(NEWEST_ARRIVAL.format(name=name_of("inbox", day))))
    return arrived_at


@step("partitions.detach")
def detach(session: psycopg.Connection[Any], table: Partitioned, day: date, *, pending: bool) -> None:
    """Detach the partition of `day`, or end its detachment when one is `pending`.

    `session` commits by itself and has a short `lock_timeout`.

    Raises:
        psycopg.errors.LockNotAvailable: an open transaction was in the way. The detachment is
            pending then: nobody else is blocked, and no other can begin before it is ended.
    """
    statement = FINALIZE if pending else DETACH
    session.execute(statement.format(table=table, name=name_of(table, day)).encode())


@step("partitions.drop")
def drop(session: psycopg.Connection[Any], table: Partitioned, day: date) -> None:
    """Drop a partition that was detached; raises as `detach` does."""
    session.execute(DROP.format(name=name_of(table, day)).encode())


@step("partitions.ensure")
def _ensure(bind: Engine, table: Partitioned, first: date, last: date) -> int:
    with begin(bind) as tx:
        tx.execute(text(f"SET LOCAL lock_timeout = '{ATTACH_LOCK_TIMEOUT}'"))
        # The lock that ATTACH needs anyway, taken first: whoever comes second sees what the first has made.
        tx.execute(text(LOCK.format(table=table)))
        present = attached(tx, table)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        missing = [day for day in days if day not in present]
        for day in missing:
            _create(tx, table, day)
    return len(missing)


def _create(tx: Connection, table: Partitioned, day: date) -> None:
    first, end = midnight(day), midnight(day + timedelta(days=1))
    low, high = (str(uuid_floor(first)), str(uuid_floor(end))) if table == "inbox" else (str(first), str(end))
    name = name_of(table, day)
    # ATTACH scans what it attaches for rows out of bounds: the table is new and empty, so it costs nothing.
    tx.execute(text(CREATE.format(table=table, name=name)))
    tx.execute(text(ATTACH.format(table=table, name=name, first=low, end=high)))
