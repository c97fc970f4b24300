"""Is the other side alive enough to be asked? After failures in a row nobody asks it for a while.

Closed: everyone may ask. Open: nobody. Then half-open: one probe; its answer closes or opens the
breaker again. It knows nothing of safety: an effect that it holds back was not sent.
"""

from paidonce.app.clock import Clock
from paidonce.app.retry import full_jitter_s


class Breaker:
    """A circuit breaker of one process, for the code of one event loop."""

    def __init__(self, clock: Clock, *, failures: int, open_s: float, open_most_s: float | None = None) -> None:
        """Open for `open_s` seconds after `failures` failures in a row.

        With `open_most_s` each failed probe doubles that time up to it, with full jitter.
        """
        self._clock = clock
        self._failures_most = failures
        self._open_s, self._open_most_s = open_s, open_most_s
        self._failures = 0
        self._open_until: float | None = None
        self._openings = 0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether it holds calls back: until one gets an answer."""
        return self._open_until is not None

    def room(self, free: int) -> int:
        """Return how many of `free` calls would be let through now."""
        if self._open_until is None:
            return free
        cooling = self._clock.monotonic() < self._open_until
        return 0 if cooling or self._probing else min(free, 1)

    def enter(self) -> bool:
        """Tell whether a call may be made now; one that is must be reported."""
        if not self.room(1):
            return False
        self._probing = self._open_until is not None
        return True

    def report(self, *, alive: bool | None) -> None:
        """Tell what became of a call: whether the other side answered; None: it was not asked after all."""
        probe, self._probing = self._probing, False
        if alive is None:
            return
        if alive:
            self._failures, self._openings, self._open_until = 0, 0, None
            return
        self._failures += 1
        if probe or (self._open_until is None and self._failures >= self._failures_most):
            self._open_until = self._clock.monotonic() + self._pause_s()
            self._openings += 1

    def _pause_s(self) -> float:
        if self._open_most_s is None:
            return self._open_s
        return full_jitter_s(self._openings, first_s=self._open_s, most_s=self._open_most_s)
