"""When is somebody else's pipeline through? When it has asked the provider nothing more for a while."""

from collections.abc import Callable, Collection, Mapping
from time import monotonic, sleep

from paidonce.chaos.facts import Charge, Drained

#: Seconds between two looks at the provider's journal.
LOOK_S = 0.2

#: Returns every charge so far, and how many calls the provider got.
Journal = Callable[[], tuple[Collection[Charge], int]]

STILL_ASKING = "calls to the provider since the load ended, and no end of them"
STILL_OPEN = "accepted payments still open when no more calls came"


def drain(
    journal: Journal,
    still_open: Callable[[Collection[Charge]], int],
    told: Callable[[Mapping[str, int]], None],
    *,
    rest_s: float,
    within_s: float,
) -> Drained:
    """Wait until the provider has got no call for `rest_s` seconds; `told` hears what is open meanwhile.

    What is open then is stuck, and so is a pipeline that still calls after `within_s` seconds.
    """
    began = since = monotonic()
    (charges, calls), late = journal(), 0
    while monotonic() < since + rest_s:
        open_ = still_open(charges)
        told({STILL_OPEN: open_} if open_ else {})
        if monotonic() > began + within_s:
            return Drained(monotonic() - began, {STILL_ASKING: late})
        sleep(LOOK_S)
        charges, now_calls = journal()
        if now_calls != calls:
            late, calls, since = late + now_calls - calls, now_calls, monotonic()
    open_ = still_open(charges)
    return Drained(since - began, {STILL_OPEN: open_} if open_ else {})
