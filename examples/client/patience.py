"""When is it asked again? After `Retry-After`, or a pause that doubles, a random part of it; and not for ever."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Seconds of the first pause, and of the longest.
FIRST_S, MOST_S = 0.2, 10.0
#: Seconds after which a caller who waits is told that nobody knows; the intent stays open.
GIVE_UP_S = 30.0


class Patience:
    """How long we go on; what is given replaces clock, sleep and dice in tests."""

    def __init__(
        self,
        give_up_s: float = GIVE_UP_S,
        *,
        first_s: float = FIRST_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._give_up_s = give_up_s
        self._first_s = first_s
        self._sleep = sleep
        self._clock = clock
        self._draw = draw

    def begin(self) -> "Waiting":
        """Start to count the time of one request."""
        return Waiting(self._clock() + self._give_up_s, self._first_s, self._sleep, self._clock, self._draw)


class Waiting:
    """The pauses between the attempts at one request."""

    def __init__(
        self,
        until: float,
        pause_s: float,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
        draw: Callable[[float, float], float],
    ) -> None:
        self._until = until
        self._pause_s = pause_s
        self._sleep = sleep
        self._clock = clock
        self._draw = draw

    def again(self, retry_after_s: float) -> bool:
        """Wait for the next attempt; False when that would be too late.

        At least as long as the server asks for, and then a random part of the pause more: whoever was told the same
        number must not come back at the same moment.
        """
        wait_s = retry_after_s + self._draw(0.0, self._pause_s)
        self._pause_s = min(MOST_S, self._pause_s * 2)
        if self._clock() + wait_s > self._until:
            return False
        self._sleep(wait_s)
        return True


def retry_after_s(header: str | None) -> float:
    """Return the seconds that a Retry-After header asks for, as a number or a date; 0 without one that can be read."""
    if header is None:
        return 0.0
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
