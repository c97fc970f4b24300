"""How long until everything is final after the last fault? Bounded: what is not by then is stuck."""

from collections.abc import Callable, Collection, Mapping
from time import monotonic, sleep

from paidonce.chaos import tables
from paidonce.chaos.facts import Drained

#: Seconds after healing within which everything must be final (docs/design.md, "The fault rig").
DRAIN_WITHIN_S = 30.0
#: Seconds between two looks.
LOOK_S = 0.1
#: Seconds for which as many must have stayed unknown: three look-ups at the provider (devstack/pace.py).
STEADY_S = 3.0


def drain(
    dsn: str,
    told: Callable[[Mapping[str, int]], None],
    *,
    within_s: float = DRAIN_WITHIN_S,
    left_unknown: Collection[str] = (),
) -> Drained:
    """Wait until nothing is unfinished, for at most `within_s` seconds; `told` hears what still is.

    Effects of the kinds `left_unknown` may stay unknown; then it is waited for until no more of them are found out.
    """
    began = monotonic()
    unknown, since = 0, began
    with tables.connect(dsn) as connection:
        while True:
            stuck, now_unknown = tables.unfinished(connection, left_unknown), tables.unknown(connection, left_unknown)
            told(stuck)
            now = monotonic()
            if stuck or now_unknown != unknown:
                unknown, since = now_unknown, now
            if not stuck and (not unknown or now > since + STEADY_S):
                return Drained(since - began, stuck)
            if now > began + within_s:
                return Drained(now - began, stuck)
            sleep(LOOK_S)
