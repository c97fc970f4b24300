"""How does a worker learn at once that there is work? By a NOTIFY after the COMMIT, on another connection.

Never inside the business transaction: a NOTIFY takes a lock at commit that only one transaction
of the whole server has at a time (9.4k to 2.4k commits/s, measured). A hint may be lost without
harm: whoever listens polls as well (docs/design.md, "Relay").
"""

import contextlib
from collections.abc import Iterable
from threading import Event, Lock, Thread
from typing import Any

import psycopg
import structlog
from psycopg.pq import ExecStatus

from paidonce.app.steps import step

#: Where hints of events in the outbox go.
OUTBOX = "paidonce_outbox"

#: At most one NOTIFY a channel within this, for all that was committed meanwhile: the relay's pass takes about as long.
INTERVAL_S = 0.003
#: A NOTIFY takes a transaction id, so its COMMIT would wait for the disk; there is nothing in it to lose. Sent with
#: each, in the one transaction that a query of several statements is: a pooler keeps nothing for us.
UNSYNCED = "SET LOCAL synchronous_commit = off"
#: Seconds between attempts to connect: the net is there, so there is no hurry.
RECONNECT_S = 1.0


def effects_of(kind: str) -> str:
    """Return the channel where hints of effects of `kind` go."""
    return f"paidonce_effects_{kind}"


class Hinter:
    """Gives hints from a thread of its own: `hint` never waits, in a thread or on asyncio."""

    def __init__(self, dsn: str) -> None:
        """Nothing is connected before the first hint."""
        self._dsn = dsn
        self._wanted = Event()
        self._channels: set[str] = set()
        self._closed = Event()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._session: psycopg.Connection[Any] | None = None

    def hint(self, *channels: str) -> None:
        """Say after a COMMIT that there is work for who listens on `channels`; by default events in the outbox."""
        with self._lock:
            self._channels.update(channels or (OUTBOX,))
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
            with self._lock:
                channels, self._channels = self._channels, set()
            if channels:
                self._closed.wait(INTERVAL_S if self._give(channels) else RECONNECT_S)
        self._disconnect()

    def _give(self, channels: Iterable[str]) -> bool:
        try:
            self._notify("; ".join([UNSYNCED, *(f'NOTIFY "{channel}"' for channel in channels)]))
        except psycopg.Error as error:
            structlog.get_logger().debug("hint_failed", error=repr(error))
        except Exception:  # noqa: BLE001  a thread that ended would give no hint until the process starts anew
            structlog.get_logger().exception("hint_crashed")
        else:
            return True
        self._disconnect()
        return False

    @step("hint.notify")
    def _notify(self, statements: str) -> None:
        if self._session is None:
            self._session = psycopg.connect(self._dsn, autocommit=True)
        # libpq itself: a cursor's conveniences would cost the process's one interpreter lock ten times as long.
        result = self._session.pgconn.exec_(statements.encode())
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError(result.get_error_message())

    def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(Exception):  # it is given up, whatever is wrong with it
                session.close()
