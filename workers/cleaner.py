"""What is forgotten, and when? Expired keys, old windows, days of outbox and inbox whose time is over.

One cleaner works at a time, by lease; two at once would do no harm. Days ahead are made here too
(docs/design.md, "Retention").
"""

from datetime import date, timedelta

import psycopg
import structlog
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.errors import LeaseLostError
from paidonce.app.idempotency import store
from paidonce.app.messaging import inbox, partitions
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers import leases, runner, windows
from paidonce.workers.leases import Lease, Session

LEASE = "cleaner"

#: Rows of one transaction: some ms of locks, and a stop waits no longer.
BATCH_ROWS = 1_000
#: For DETACH and DROP: whoever is in the way for longer is asked again in the next round.
LOCK_TIMEOUT_MS = 1_000


def main(settings: Settings) -> None:
    """Run a cleaner until SIGTERM or SIGINT."""
    bind = db.engine(settings)
    process = runner.start("cleaner", settings, bind)
    cleaner = Cleaner(settings, bind)
    try:
        runner.run(process, cleaner.run_once, idle_s=settings.cleaner_interval_s, is_transient=is_transient)
    finally:
        cleaner.close()
        bind.dispose()


def is_transient(error: BaseException) -> bool:
    """Tell whether the next round may succeed."""
    return db.is_transient(error) or isinstance(error, LeaseLostError)


class Cleaner:
    """Cleans while it holds the lease."""

    def __init__(self, settings: Settings, bind: Engine, clock: Clock | None = None) -> None:
        self._settings = settings
        self._bind = bind
        self._clock = clock or SystemClock()
        self._owner = leases.new_owner()
        self._session: Session | None = None
        self._lease: Lease | None = None

    def run_once(self) -> int:
        """Do one round; return the rows and partitions that went, 0 while another cleaner works."""
        session = self._open()
        if not self._hold(session):
            return 0
        return self._rows(session) + self._days(session)

    def close(self) -> None:
        """Hand the lease over."""
        session, self._session = self._session, None
        if session is None:
            return
        if self._lease is not None and not session.closed:
            leases.release(session, self._lease)
        session.close()

    def _open(self) -> Session:
        if self._session is None or self._session.closed:
            self._lease = None
            self._session = psycopg.connect(
                db.libpq_dsn(self._settings),
                autocommit=True,
                connect_timeout=10,
                application_name="paidonce-cleaner",
                options=f"-c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC",
            )
        return self._session

    def _hold(self, session: Session) -> bool:
        held, self._lease = self._lease, None
        if held is not None:
            leases.renew(session, held, for_s=self._settings.cleaner_lease_s)
            self._lease = held
        elif leases.free(session, [LEASE]):
            self._lease = leases.acquire(session, LEASE, self._owner, for_s=self._settings.cleaner_lease_s)
        return self._lease is not None

    def _rows(self, session: Session) -> int:
        older_than = timedelta(days=self._settings.outbox_retention_d)
        old_windows = sum(
            windows.remove_old(session, shard, older_than=older_than, most=BATCH_ROWS)
            for shard in range(self._settings.outbox_shards)
        )
        return self._purge_keys() + self._drop_tombstones() + self._sweep_inbox() + old_windows

    @step("cleaner.purge_keys")
    def _purge_keys(self) -> int:
        with db.begin(self._bind) as tx:
            return store.purge_expired(tx, most=BATCH_ROWS)

    @step("cleaner.drop_tombstones")
    def _drop_tombstones(self) -> int:
        older_than = timedelta(days=self._settings.idempotency_tombstone_d)
        with db.begin(self._bind) as tx:
            return store.drop_tombstones(tx, older_than=older_than, most=BATCH_ROWS)

    @step("cleaner.sweep_inbox")
    def _sweep_inbox(self) -> int:
        with db.begin(self._bind) as tx:
            return inbox.sweep_foreign(tx, timedelta(days=self._settings.inbox_retention_d))

    def _days(self, session: Session) -> int:
        settings, today = self._settings, self._clock.now().date()
        partitions.ensure(self._bind, today, ahead_d=settings.partitions_ahead_d, behind_d=settings.inbox_retention_d)
        # One day more: the last moment of a day is as old as the retention only a day after its first.
        outbox_end = today - timedelta(days=settings.outbox_retention_d + 1)
        inbox_end = today - timedelta(days=settings.inbox_retention_d + 1)
        return self._retire(session, "outbox", outbox_end) + self._retire(session, "inbox", inbox_end)

    def _retire(self, session: Session, table: partitions.Partitioned, last: date) -> int:
        """Detach and drop the days up to `last` that nobody needs; return how many were dropped."""
        try:
            self._detach(session, table, last)
            return self._drop(session, table, last)
        except psycopg.errors.LockNotAvailable:
            structlog.get_logger().info("partition_in_use", table=table)
            return 0

    def _detach(self, session: Session, table: partitions.Partitioned, last: date) -> None:
        with self._bind.connect() as tx:
            days = partitions.attached(tx, table)
        pending = [day for day, is_pending in days.items() if is_pending]
        old = [day for day in days if day <= last and day not in pending]
        for day in pending + [day for day in old if self._may_go(session, table, day)]:
            partitions.detach(session, table, day, pending=day in pending)

    def _drop(self, session: Session, table: partitions.Partitioned, last: date) -> int:
        with self._bind.connect() as tx:
            days = [day for day in partitions.loose(tx, table) if day <= last]
        for day in days:
            partitions.drop(session, table, day)
            structlog.get_logger().info("partition_dropped", table=table, day=day.isoformat())
        return len(days)

    def _may_go(self, session: Session, table: partitions.Partitioned, day: date) -> bool:
        with self._bind.connect() as tx:
            if table == "inbox":
                newest = partitions.newest_arrival(tx, day)
                kept_since = self._clock.now() - timedelta(days=self._settings.inbox_retention_d)
                return newest is None or newest < kept_since
            if not partitions.quiet_since(tx, partitions.midnight(day + timedelta(days=1))):
                return False
        # After that look no row can still come, so what is visible now is all that there will be.
        name = partitions.name_of(table, day)
        return all(windows.published_wholly(session, n, name) for n in range(self._settings.outbox_shards))
