"""Looks for parked messages that are due cost little, and one slow look does not blind us."""

from paidonce.workers.consumer_parked import LOOK_MOST_S, LOOK_S, LOOK_SHARE, pause_s


def test_a_quick_look_is_repeated_soon_and_a_slow_one_later_but_never_much_later() -> None:
    assert pause_s(0.001) == LOOK_S
    assert pause_s(0.05) == LOOK_SHARE * 0.05
    assert pause_s(30.0) == LOOK_MOST_S
