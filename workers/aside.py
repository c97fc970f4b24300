"""Where does a call go that may never return? Onto a thread of its own, where it can be left behind.

Kafka's client waits without a time limit for the end of a transaction. A dead broker must hold
neither the process's exit nor the renewal of its leases (docs/design.md, "Relay").
"""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, Thread
from time import monotonic
from typing import Any, Generic, TypeVar

from paidonce.app.errors import PaidonceError

Result = TypeVar("Result")

#: Seconds between calls of `meanwhile`; a result is handed over at once.
LOOK_S = 0.05


class LeftBehindError(PaidonceError):
    """A call did not return in time, or its process shall stop: the call was left behind."""


class Call(Generic[Result]):
    """A call under way, on a thread that nobody has to wait for."""

    def __init__(self, function: Callable[..., Result], *arguments: Any, over: Event | None = None) -> None:
        """Begin `function(*arguments)`; `over` is set when it has ended."""
        self._name = getattr(function, "__name__", repr(function))
        self._began_at = monotonic()
        self._future: Future[Result] = Future()
        if over is not None:
            self._future.add_done_callback(lambda _: over.set())
        Thread(target=_run, args=(self._future, function, arguments), name="aside", daemon=True).start()

    def is_over(self, *, limit_s: float) -> bool:
        """Tell whether `result` would not wait: there is one, or never will be."""
        return self._future.done() or monotonic() > self._began_at + limit_s

    def result(self, *, limit_s: float, meanwhile: Callable[[], object]) -> Result:
        """Return what the call returns, or raise what it raises.

        Until then `meanwhile` is called again and again; what it raises leaves the call behind.

        Raises:
            LeftBehindError: `limit_s` seconds after the call began.
        """
        while True:
            try:
                return self._future.result(timeout=LOOK_S)
            except TimeoutError:
                if self._future.done():
                    raise
            meanwhile()
            if monotonic() > self._began_at + limit_s:
                raise LeftBehindError(f"{self._name} did not return in time")


def _run(future: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        future.set_result(function(*arguments))
    except BaseException as error:  # noqa: BLE001  whatever it is belongs to the caller
        future.set_exception(error)
