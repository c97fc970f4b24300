"""How long until everything is final after the last fault? Bounded: what is not by then is stuck."""

from collections.abc import Callable, Mapping
from time import monotonic, sleep

from paidonce.chaos import tables
from paidonce.chaos.facts import Drained

#: Seconds after healing within which everything must be final (docs/design.md, "The fault rig").
DRAIN_WITHIN_S = 30.0
#: Seconds between two looks.
LOOK_S = 0.1


def drain(dsn: str, told: Callable[[Mapping[str, int]], None], *, within_s: float = DRAIN_WITHIN_S) -> Drained:
    """Wait until nothing is unfinished, for at most `within_s` seconds; `told` hears what still is."""
    began = monotonic()
    with tables.connect(dsn) as connection:
        while True:
            stuck = tables.unfinished(connection)
            told(stuck)
            seconds = monotonic() - began
            if not stuck or seconds > within_s:
                return Drained(seconds, stuck)
            sleep(LOOK_S)
