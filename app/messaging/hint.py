"""How does the relay learn at once that an event was committed? By a NOTIFY after the COMMIT, on another connection.

Never inside the business transaction: a NOTIFY takes a lock at commit that only one transaction
of the whole server has at a time (9.4k to 2.4k commits/s, measured). A hint may be lost without
harm: the relay polls as well (docs/design.md, "Relay").
"""

from threading import Event, Lock, Thread
from typing import Any

import psycopg
import structlog
from psycopg.pq import ExecStatus

from paidonce.app.steps import step

CHANNEL = "paidonce_outbox"
NOTIFY = f"NOTIFY {CHANNEL}".encode()

#: At most one NOTIFY within this, for all that was committed meanwhile: the relay's pass takes about as long.
INTERVAL_S = 0.003
#: A NOTIFY takes a transaction id, so its COMMIT would wait for the disk; there is nothing in it to lose.
UNSYNCED = "-c synchronous_commit=off"
#: Seconds between attempts to connect: the net is there, so there is no hurry.
RECONNECT_S = 1.0


class Hinter:
    """Gives hints from a thread of its own: `hint` never waits, in a thread or on asyncio."""

    def __init__(self, dsn: str) -> None:
        """Nothing is connected before the first hint."""
        self._dsn = dsn
        self._wanted = Event()
        self._closed = Event()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._session: psycopg.Connection[Any] | None = None

    def hint(self) -> None:
        """Say that an event was committed. Call it after the COMMIT."""
        self._wanted.set()
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Give no more hints, and disconnect."""
        self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(RECONNECT_S)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wanted.wait()
            self._wanted.clear()
            self._closed.wait(INTERVAL_S if self._give() else RECONNECT_S)
        self._disconnect()

    def _give(self) -> bool:
        try:
            self._notify()
        except psycopg.Error as error:
            structlog.get_logger().debug("hint_failed", error=repr(error))
            self._disconnect()
            return False
        return True

    @step("hint.notify")
    def _notify(self) -> None:
        if self._session is None:
            self._session = psycopg.connect(self._dsn, autocommit=True, connect_timeout=5, options=UNSYNCED)
        # libpq itself: a cursor's conveniences would cost the process's one interpreter lock ten times as long.
        result = self._session.pgconn.exec_(NOTIFY)
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError(result.get_error_message())

    def _disconnect(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
