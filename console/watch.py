"""How has it been going? The console looks every few seconds, and keeps the figures of the last hour or so.

A view, and nothing that anybody decides by: a replica that just started shows a shorter past, and no harm is done
(docs/stateless.md). One thread, however many look at the pages.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from threading import Condition, Event, Thread
from time import monotonic

import structlog
from psycopg import OperationalError as PsycopgError
from sqlalchemy.exc import DBAPIError

from paidonce.app.clock import Clock
from paidonce.app.errors import PaidonceError
from paidonce.app.settings import Settings
from paidonce.console import probes
from paidonce.console.probes import Probe
from paidonce.workers import status as statuses
from paidonce.workers.status import Status

#: An hour at five seconds; about 100 KB.
POINTS_MOST = 720
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment."""

    at: datetime
    #: None: PostgreSQL did not say
    status: Status | None
    error: str | None
    processes: list[Probe]
    servers: list[Probe]


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of one look that are plotted; None where nobody could say."""

    at: datetime
    waiting: int | None = None
    lag: int | None = None
    parked: int | None = None
    open_effects: int | None = None
    unknown: int | None = None
    dead: int | None = None


class Watch:
    """Looks at the pipeline from a thread."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Look at nothing yet."""
        self._settings, self._clock = settings, clock
        self._points: deque[Point] = deque(maxlen=POINTS_MOST)
        self._last: Look | None = None
        self._news, self._stop = Condition(), Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look that waits for a server is left to end with the process."""
        self._stop.set()

    def last(self, *, wait_s: float = 0.0) -> Look | None:
        """Return the newest look, after waiting for the first; None: there is none yet."""
        with self._news:
            if self._last is None and wait_s:
                self._news.wait(wait_s)
            return self._last

    def points(self) -> list[Point]:
        """Return the figures of the last looks, the oldest first."""
        with self._news:
            return list(self._points)

    def look(self) -> Look:
        """Look now, and keep what is seen."""
        at, (status, error) = self._clock.now(), self._status()
        seen = Look(
            at, status, error, probes.processes(self._settings), list(probes.servers(self._settings, status, error))
        )
        with self._news:
            self._last = seen
            self._points.append(_point(seen))
            self._news.notify_all()
        return seen

    def _run(self) -> None:
        while not self._stop.is_set():
            began = monotonic()
            try:
                self.look()
            except Exception:  # noqa: BLE001  the thread must not end: it would never be noticed
                # Whatever it is, the pages show how old their figures are, and the next look may succeed.
                _log.exception("could not look")
            self._stop.wait(max(0.5, began + self._settings.console_look_s - monotonic()))

    def _status(self) -> tuple[Status | None, str | None]:
        try:
            return statuses.read(self._settings, ended=False), None
        except (DBAPIError, PsycopgError) as error:
            return None, f"does not answer ({type(error).__name__})"
        except PaidonceError as error:
            return None, str(error)


def _point(look: Look) -> Point:
    status = look.status
    if status is None:
        return Point(look.at)
    lags = [one.lag for one in status.consumers if one.lag is not None]
    return Point(
        at=look.at,
        waiting=None if status.cdc else sum(one.waiting for one in status.outbox),
        lag=sum(lags) if status.kafka_error is None else None,
        parked=sum(one.parked for one in status.consumers),
        open_effects=sum(status.effects.get(state, 0) for state in ("pending", "running", "unknown")),
        unknown=status.effects.get("unknown", 0),
        dead=sum(one.count for one in status.dead_letters if one.state == "dead"),
    )
