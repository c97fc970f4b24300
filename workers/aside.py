"""Where does a call go that may never return? Onto a thread of its own, where it can be left behind.

Kafka's client waits without a time limit for the end of a transaction. A dead broker must hold
neither the process's exit nor the renewal of its leases (docs/design.md, "Relay").
"""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, Thread
from time import monotonic
from typing import Any, TypeVar

from paidonce.app.errors import PaidonceError

Result = TypeVar("Result")

#: Seconds between looks at `meanwhile` and `stop`; a result is handed over at once.
LOOK_S = 0.05


class LeftBehindError(PaidonceError):
    """A call did not return in time, or the process shall stop: the call was left behind."""


def call(
    function: Callable[..., Result],
    *arguments: Any,
    limit_s: float,
    meanwhile: Callable[[], object],
    stop: Event,
    stop_s: float,
) -> Result:
    """Return what `function(*arguments)` returns, from a thread that nobody waits for.

    While it runs, `meanwhile` is called again and again; what it raises leaves the call behind.

    Raises:
        LeftBehindError: after `limit_s` seconds, or `stop_s` seconds after `stop` was set.
    """
    future: Future[Result] = Future()
    Thread(target=_run, args=(future, function, arguments), name="aside", daemon=True).start()
    deadline = monotonic() + limit_s
    stopping = False
    while True:
        try:
            return future.result(timeout=LOOK_S)
        except TimeoutError:
            if future.done():
                raise
        meanwhile()
        if stop.is_set() and not stopping:
            stopping, deadline = True, min(deadline, monotonic() + stop_s)
        if monotonic() > deadline:
            raise LeftBehindError(f"{getattr(function, '__name__', function)} did not return in time")


def _run(future: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        future.set_result(function(*arguments))
    except BaseException as error:  # noqa: BLE001  whatever it is belongs to the caller
        future.set_exception(error)
