"""What is an errand, and how does one wait? Whatever brings a step about that customers alone do not."""

from collections.abc import Callable
from time import monotonic, sleep

from paidonce.chaos.atlas.ground import Ground

#: Brings its step about, and finishes what it began even when it was struck on the way; raises ErrandError if not.
Errand = Callable[[Ground], None]

#: Seconds between two looks or attempts.
LOOK_S = 0.1


class ErrandError(Exception):
    """What an errand was to bring about is not so; the message says what."""


def wait(condition: Callable[[], bool], what: str, *, within_s: float = 30.0, look_s: float = LOOK_S) -> None:
    """Return as soon as it is so; raises ErrandError when it is not in time."""
    end = monotonic() + within_s
    while not condition():
        if monotonic() > end:
            raise ErrandError(f"not so within {within_s:.0f} s: {what}")
        sleep(look_s)
