"""How does what serves HTTP stop? The API says that it is not ready, goes on until that is noticed, then ends.

Requests under way end by themselves, a COMMIT above all is never cancelled; what has not ended in time is as after a
kill (app/stopping.py).
"""

import signal
from time import monotonic
from types import FrameType

import uvicorn

from paidonce.app.stopping import Stopping


class Drain:
    """Whether this process is about to stop, and until when it serves."""

    def __init__(self) -> None:
        self._until: float | None = None

    @property
    def begun(self) -> bool:
        """Whether it is."""
        return self._until is not None

    @property
    def is_over(self) -> bool:
        """Whether it has served for as long as it was to."""
        return self._until is not None and monotonic() >= self._until

    def last(self, for_s: float) -> None:
        """Serve for so long; a second time changes nothing."""
        if self._until is None:
            self._until = monotonic() + for_s


class Server(uvicorn.Server):
    """uvicorn, which drains before it stops."""

    def __init__(self, config: uvicorn.Config, drain: Drain, *, drain_s: float, stop_s: float) -> None:
        super().__init__(config)
        self._drain, self._drain_s = drain, drain_s
        self._stopping = Stopping(drain_s + stop_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  as uvicorn has it
        """Begin to stop; a second Ctrl-C waits for nobody. uvicorn's own would raise the signal again at the end."""
        self.force_exit = self.force_exit or (self._drain.begun and sig == signal.SIGINT)
        self._stopping.count_down()
        self._drain.last(self._drain_s)

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to stop serving; uvicorn asks ten times a second."""
        return await super().on_tick(counter) or self._drain.is_over or self.force_exit
