"""When is somebody else's pipeline through? When all that it accepted is charged or declined, and it asks no more."""

from collections.abc import Callable, Collection, Mapping
from time import monotonic, sleep

from paidonce.chaos.facts import Charge, Drained

#: Seconds between two looks at the provider's journal.
LOOK_S = 0.2
#: Seconds without a new call to the provider after which nothing more is expected: above the simulator's longest
#: answer (chaos/run.py, PROVIDER) and the first pauses of most retries. What comes later is not seen.
REST_S = 4.0

#: Returns every charge so far, and how many calls the provider got.
Journal = Callable[[], tuple[Collection[Charge], int]]

STILL_OPEN = "accepted payments of which the provider knows nothing"
STILL_ASKING = "calls to the provider since the load ended, and no end of them"


def drain(
    journal: Journal,
    not_charged: Callable[[Collection[Charge]], int],
    told: Callable[[Mapping[str, int]], None],
    *,
    within_s: float,
    rest_s: float = REST_S,
) -> Drained:
    """Wait until no accepted payment is without a charge and no call has come for `rest_s`; `told` hears what is open.

    What is still open after `within_s` seconds is stuck.
    """
    began = since = monotonic()
    charges, calls = journal()
    late = 0
    while True:
        now = monotonic()
        open_ = not_charged(charges)
        stuck = {STILL_OPEN: open_} if open_ else {}
        told(stuck)
        if not stuck and now > since + rest_s:
            return Drained(since - began, {})
        if now > began + within_s:
            return Drained(now - began, stuck | ({} if now > since + rest_s else {STILL_ASKING: late}))
        sleep(LOOK_S)
        charges, now_calls = journal()
        if now_calls != calls:
            late, calls, since = late + now_calls - calls, now_calls, monotonic()
