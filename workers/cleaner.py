"""What is forgotten, and when? Expired keys, old windows, days of outbox and inbox whose time is over.

One cleaner works at a time, by lease; two at once would do no harm. Days ahead are made here too
(docs/design.md, "Retention").
"""

from datetime import timedelta
from functools import partial

import psycopg
from prometheus_client import Counter
from sqlalchemy import Engine

from paidonce.app import db, installation, pooler
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.errors import LeaseLostError
from paidonce.app.idempotency import store
from paidonce.app.messaging import inbox
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers import leases, runner, windows
from paidonce.workers.cleaner_days import Days
from paidonce.workers.leases import Lease, Session

LEASE = "cleaner"

SWEPT = Counter("paidonce_cleaner_rows_total", "Rows over their time that were changed or removed.", ["kind"])

#: Rows of one transaction: some ms of locks, and a stop waits no longer.
BATCH_ROWS = 1_000
#: For DETACH and DROP: whoever is in the way for longer is asked again in the next round.
LOCK_TIMEOUT_MS = 1_000


def main(settings: Settings) -> None:
    """Run a cleaner until SIGTERM or SIGINT."""
    bind = db.engine(settings, direct=True)
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
        self._owner = leases.new_owner()
        self._days = Days(settings, bind, clock or SystemClock())
        self._session: Session | None = None
        self._lease: Lease | None = None

    def run_once(self) -> int:
        """Do one round; return the rows and partitions that went, 0 while another cleaner works."""
        session = self._open()
        if not self._hold(session):
            self._days.forget()
            return 0
        return self._rows(session) + self._days.run_once(session, keep=partial(self._hold, session))

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
                db.libpq_dsn(self._settings, direct=True),
                autocommit=True,
                application_name="paidonce-cleaner",
                options=f"-c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC",
            )
            try:
                pooler.check_direct(self._session)
            except BaseException:
                self.close()
                raise
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
        with self._bind.connect() as tx:
            shards = installation.shards(tx)
        old_windows = sum(
            windows.remove_old(session, shard, older_than=older_than, most=BATCH_ROWS) for shard in range(shards)
        )
        swept = {
            "keys": self._purge_keys(),
            "tombstones": self._drop_tombstones(),
            "inbox_foreign": self._sweep_inbox(),
            "relay_windows": old_windows,
        }
        for kind, count in swept.items():
            SWEPT.labels(kind).inc(count)
        return sum(swept.values())

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
