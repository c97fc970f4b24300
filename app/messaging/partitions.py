"""Into which daily partitions do outbox and inbox go, and how does one come and go without blocking a writer?

An `outbox` row's day is that of `created_at`, an `inbox` row's that of the time in its UUIDv7
(RFC 9562, section 5.7), so that the inbox's key stays unique. Plain CREATE … PARTITION OF, DETACH
and DROP queue behind one idle writer and block every insert after them; CREATE … LIKE + ATTACH
and DETACH CONCURRENTLY do not (docs/design.md, "Outbox").
"""

from collections.abc import Iterable
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

#: Any number that nobody else in this database uses: the advisory lock of the inbox's days.
INBOX_DAYS_LOCK = 7_241_431_953
HOLD_INBOX_DAYS = "SELECT pg_advisory_xact_lock_shared(:lock)"
CHANGE_INBOX_DAYS = "SELECT pg_advisory_xact_lock(:lock)"

#: The days belong to whom their table belongs to, whichever of its members made them: any other may drop them.
AS_OWNER = """
    SELECT set_config('role', pg_get_userbyid(relowner), true) FROM pg_class
     WHERE oid = CAST(:table AS regclass) AND relowner <> CAST(quote_ident(current_user) AS regrole)
"""
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
#: Few names, not all days: asked with each claim.
TAKING = """
    SELECT child.relname
      FROM pg_inherits link
      JOIN pg_class child ON child.oid = link.inhrelid
     WHERE link.inhparent = CAST(:table AS regclass) AND NOT link.inhdetachpending AND child.relname = ANY (:names)
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
#: Of another role's transaction we see neither start nor kind, unless we have pg_read_all_stats: it counts, whenever it
#: began. A prepared one can insert no more: it counts when it has written to the outbox, and so holds a lock there.
BEGAN_BEFORE = """
    SELECT format('%s of process %s (%s)',
                  coalesce('a transaction open since ' || date_trunc('second', xact_start),
                           'a transaction whose start only pg_read_all_stats shows,'),
                  pid, coalesce(nullif(application_name, ''), usename))
      FROM pg_stat_activity AS other
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND backend_type IS DISTINCT FROM 'autovacuum worker'
       AND (xact_start < :moment
            OR backend_type IS NULL AND usename IS NOT NULL
               AND EXISTS (SELECT FROM pg_locks WHERE pid = other.pid AND locktype = 'virtualxid'))
    UNION ALL
    SELECT format('the prepared transaction %L of %s', gid, date_trunc('second', prepared))
      FROM pg_prepared_xacts AS prepared_one
      JOIN pg_locks AS own ON own.pid IS NULL AND own.transactionid = prepared_one.transaction
      JOIN pg_locks AS held ON held.pid IS NULL AND held.virtualtransaction = own.virtualtransaction
     WHERE prepared_one.database = current_database() AND held.relation = CAST('outbox' AS regclass)
     LIMIT 1
"""
NOTE_GONE = "INSERT INTO outbox_days_gone (day) VALUES (:day) ON CONFLICT (day) DO UPDATE SET at = now()"
GONE_SINCE = "SELECT max(at) FROM outbox_days_gone WHERE day BETWEEN :first AND :last"
FORGET_GONE = "DELETE FROM outbox_days_gone WHERE day < :before"
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


def taking(tx: Connection, table: Partitioned, days: Iterable[date]) -> set[date]:
    """Return those of `days` that have a partition which takes rows."""
    names = [name_of(table, day) for day in days]
    return {day_of(name) for name in tx.execute(text(TAKING), {"table": table, "names": names}).scalars()}


def loose(tx: Connection, table: Partitioned) -> list[date]:
    """Return the days of partitions that were detached and not yet dropped, oldest first."""
    return [day_of(name) for (name,) in tx.execute(text(LOOSE), {"table": table, "pattern": rf"^{table}_\d{{8}}$"})]


def now(tx: Connection) -> datetime:
    """Return the database's time: by it a row finds its day in the outbox."""
    moment: datetime = tx.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment.astimezone(UTC)


def hold_inbox_days(tx: Connection) -> None:
    """Let no day of the inbox be attached before this transaction ends."""
    tx.execute(text(HOLD_INBOX_DAYS), {"lock": INBOX_DAYS_LOCK})


def began_before(tx: Connection, moment: datetime) -> str | None:
    """Name an open transaction that began before `moment` and may still commit events; None when there is none."""
    found: str | None = tx.scalar(text(BEGAN_BEFORE), {"moment": moment})
    return found


def note_gone(tx: Connection, day: date) -> None:
    """Remember since when no event of that day can be read from the outbox any more."""
    tx.execute(text(NOTE_GONE), {"day": day})


def gone_since(tx: Connection, first: date, last: date) -> datetime | None:
    """Return when the last of these days left the outbox; None: so long ago that it was forgotten, or never there."""
    at: datetime | None = tx.scalar(text(GONE_SINCE), {"first": first, "last": last})
    return at


def forget_gone(tx: Connection, before: date) -> None:
    """Forget when the days before that one left the outbox."""
    tx.execute(text(FORGET_GONE), {"before": before})


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
        tx.execute(text(AS_OWNER), {"table": table})
        # The lock that ATTACH needs anyway, taken first: whoever comes second sees what the first has made.
        tx.execute(text(LOCK.format(table=table)))
        present = attached(tx, table)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        missing = [day for day in days if day not in present]
        if missing and table == "inbox":
            tx.execute(text(CHANGE_INBOX_DAYS), {"lock": INBOX_DAYS_LOCK})
        left = loose(tx, table)
        for day in missing:
            _attach(tx, table, day, is_new=day not in left)
    return len(missing)


def _attach(tx: Connection, table: Partitioned, day: date, *, is_new: bool) -> None:
    first, end = midnight(day), midnight(day + timedelta(days=1))
    low, high = (str(uuid_floor(first)), str(uuid_floor(end))) if table == "inbox" else (str(first), str(end))
    name = name_of(table, day)
    # ATTACH scans what it attaches for rows out of bounds: a new table is empty, so it costs nothing. One that was
    # detached and not yet dropped comes back when a clock that was ahead was set right.
    if is_new:
        tx.execute(text(CREATE.format(table=table, name=name)))
    tx.execute(text(ATTACH.format(table=table, name=name, first=low, end=high)))
