"""What brings a step about that customers alone do not? An errand: a restart, or what an operator does."""

import signal
from collections.abc import Callable
from fnmatch import fnmatch

from paidonce.chaos.atlas.ground import Ground

#: Brings its step about, and finishes what it began even when it was struck on the way; raises ErrandError if not.
Errand = Callable[[Ground], None]


class ErrandError(Exception):
    """What an errand was to bring about is not so; the message says what."""


def restart(*names: str) -> Errand:
    """Return an errand: these of our processes are stopped in order, and started again by the supervisor."""

    def run(ground: Ground) -> None:
        for name in names:
            ground.stack.kill(name, signal.SIGTERM)
        ground.stack.wait_ready(*names)

    return run


ERRANDS: dict[str, Errand] = {
    "relay.release": restart("relay"),
    "relay.f[ei][nx]*": restart("relay"),
    "relay.confirm": restart("relay"),
    "relay.check_shards": restart("relay"),
}


def errand_for(step: str) -> Errand | None:
    """Return what brings the step about; None: customers do."""
    return next((errand for pattern, errand in ERRANDS.items() if fnmatch(step, pattern)), None)
