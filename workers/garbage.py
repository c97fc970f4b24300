"""When does Python's collector look at everything that a worker holds? Every ten seconds, between two passes.

By itself it may not for an hour, and kafka-python leaves the socket of each connect that failed to it, in a cycle:
two file descriptors a second while Kafka is away.
"""

import gc
from collections.abc import Callable
from time import monotonic

#: Seconds between two looks: far fewer descriptors than a process may have, and no load.
EVERY_S = 10.0


class Rounds:
    """Looks at everything that came after it was made."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._last = now()
        # What a process starts with stays; looking at that too takes 40 ms.
        gc.collect()
        gc.freeze()

    def between_passes(self) -> None:
        """Collect all garbage if it is time."""
        if self._now() - self._last >= EVERY_S:
            gc.collect()
            self._last = self._now()
