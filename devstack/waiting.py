"""How do we wait for something outside? With a bound, and saying what for."""

import time
from collections.abc import Callable

from paidonce.devstack.errors import TooLateError

#: Seconds between two looks: short beside the start of the quickest server (0.1 s).
LOOK_S = 0.02


def until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Return as soon as `condition()` is true.

    Raises:
        TooLateError: it was not within `within_s` seconds; the message names `what`.
    """
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise TooLateError(f"waited {within_s:g} s in vain for {what}")
        time.sleep(LOOK_S)
