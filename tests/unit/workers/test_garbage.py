import gc
import weakref

from paidonce.workers.garbage import EVERY_S, Rounds


class Held:
    """Something in a cycle with itself, which only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_left_in_a_cycle_goes_once_in_a_while_and_not_at_every_pass() -> None:
    clock = [0.0]
    rounds = Rounds(lambda: clock[0])
    gc.disable()
    try:
        left = weakref.ref(Held())
        clock[0] = EVERY_S / 2
        rounds.between_passes()
        assert left() is not None
        clock[0] = EVERY_S
        rounds.between_passes()
        assert left() is None
        left = weakref.ref(Held())
        rounds.between_passes()
        assert left() is not None
    finally:
        gc.enable()
        gc.unfreeze()
