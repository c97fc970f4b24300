"""When does an idle relay look again? At a hint from whoever committed an event, or after the poll's time.

LISTEN needs a session of its own, directly at the server (docs/design.md, "Relay"). Without one
the relay only polls.
"""

from threading import Event
from typing import Any

import psycopg
import structlog

from paidonce.app.messaging.hint import OUTBOX


class Waker:
    """Sleeps until a hint, a stop, or the end of the time."""

    def __init__(self, dsn: str, stop: Event) -> None:
        self._dsn = dsn
        self._stop = stop
        self._session: psycopg.Connection[Any] | None = None

    def wait(self, seconds: float) -> bool:
        """Return True when a hint came. A hint given since the last wait counts: none falls between two waits."""
        try:
            for _ in self._listening().notifies(timeout=seconds, stop_after=1):
                return True
        except psycopg.Error as error:
            structlog.get_logger().debug("not_listening", error=repr(error))
            self.close()
            self._stop.wait(seconds)
        return False

    def close(self) -> None:
        """Disconnect."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _listening(self) -> psycopg.Connection[Any]:
        if self._session is None:
            session = psycopg.connect(self._dsn, autocommit=True, application_name="paidonce-listen")
            session.execute(f"LISTEN {OUTBOX}".encode())
            self._session = session
        return self._session
