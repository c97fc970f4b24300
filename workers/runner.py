"""How does a worker live? The only loop: passes until SIGTERM or SIGINT, pauses when idle, back-off when disturbed.

A worker is `run()` around `run_once() -> count`: tests call `run_once`; sleeping, signals and
jitter live here. What is transient is tried again; anything else ends the process loudly, and
its supervisor starts it anew (docs/design.md, "Processes").
"""

import random
import signal
import sys
from collections.abc import Callable
from threading import Event

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from paidonce.app import advice, db, log, telemetry
from paidonce.app.retry import attempts, backoff_s
from paidonce.app.settings import Settings
from paidonce.app.stopping import Stopping
from paidonce.workers import garbage, readiness

#: The first pause after a disturbance: long enough not to hammer, too short to be noticed.
BACKOFF_FIRST_S = 0.05
#: Pauses grow to this at most, so that a healed server is used again within it.
BACKOFF_MOST_S = 2.0
#: Looks at the schema before a start is given up: about 20 s, a database's restart.
SCHEMA_LOOKS = 30

Idle = Callable[[float], object]


class Process:
    """One worker process: its name, whether it shall stop, whether it is ready."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.stop = Event()
        self.readiness = readiness.Readiness(settings.worker_stuck_s, self.stop)
        self._stopping = Stopping(settings.stop_s)

    def request_stop(self, *_signal: object) -> None:
        """Finish the current pass, then end, and in time whatever it waits for; a signal handler."""
        self.stop.set()
        self._stopping.count_down()


def start(name: str, settings: Settings, bind: Engine) -> Process:
    """Begin a worker process: logging, telemetry, signals, `/readyz`, and the schema's version.

    Call it from the main thread, once.

    Raises:
        SchemaVersionError: the database has another schema version than this program.
        ConfigurationError: traces are wanted, and their libraries are not installed.
    """
    log.configure(name, settings.log_level)
    telemetry.start(settings.probe_host, settings.metrics_port)
    telemetry.trace(name, settings)
    process = Process(name, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, process.request_stop)
    if settings.worker_port:
        readiness.serve(settings.probe_host, settings.worker_port, process.readiness.why_not)
    for attempt in attempts(OperationalError, count=SCHEMA_LOOKS):
        with attempt:
            _check_schema(process, bind)
    if process.stop.is_set():
        sys.exit(0)
    structlog.get_logger().info("started")
    return process


def _check_schema(process: Process, bind: Engine) -> None:
    if process.stop.is_set():
        return
    try:
        with bind.connect() as tx:
            db.check_schema(tx)
    except OperationalError as error:
        structlog.get_logger().warning("database away", error=advice.of(error))
        raise


def run(
    process: Process,
    run_once: Callable[[], int],
    *,
    idle_s: float,
    idle: Idle | None = None,
    is_transient: Callable[[BaseException], bool] = db.is_transient,
) -> None:
    """Call `run_once` until the process shall stop.

    `run_once` returns how much it did; after 0 the loop idles for about `idle_s` seconds (0: the
    pass itself waits, as a poll does). `idle(seconds)` may return early, when it was woken; by
    default only a stop ends it. An error that `is_transient` backs off and goes on, any other
    is raised.
    """
    failures, rounds, ready = 0, garbage.Rounds(), process.readiness
    while not process.stop.is_set():
        rounds.between_passes()
        try:
            ready.begins(process.name)
            count = run_once()
        except Exception as error:
            ready.failed(process.name)
            if not is_transient(error):
                structlog.get_logger().exception("crashed")
                raise
            failures += 1
            structlog.get_logger().warning("disturbed", error=repr(error), failures=failures)
            process.stop.wait(backoff_s(failures, first_s=BACKOFF_FIRST_S, most_s=BACKOFF_MOST_S))
            continue
        failures = 0
        ready.succeeded(process.name, pause_s=idle_s)
        if not count and idle_s:
            (idle or process.stop.wait)(idle_s * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
    structlog.get_logger().info("stopped")
