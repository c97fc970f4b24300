"""A quick handler gets batches up to the limit, a slow one small ones, and nothing leaves the bounds."""

import pytest

from paidonce.workers.consumer_pace import AIM_S, GATHER_S, LEAST, Pace


def settled(limit: int, seconds_each: float, passes: int = 50) -> int:
    pace = Pace(limit)
    for _ in range(passes):
        pace.note(pace.most, 0.0, pace.most * seconds_each)
    return pace.most


def test_a_quick_handler_gets_what_the_setting_allows() -> None:
    assert settled(2_000, 0.000_03) == 2_000
    assert settled(20, 0.000_03) == 20


def test_a_slow_handler_gets_about_what_the_aim_allows() -> None:
    assert AIM_S / 4 <= settled(2_000, 0.001) * 0.001 <= AIM_S
    assert settled(2_000, 1.0) == LEAST


def test_it_begins_small_and_few_messages_say_nothing_about_many() -> None:
    pace = Pace(2_000)
    assert pace.most == LEAST
    for _ in range(20):
        pace.note(1, 0.0, 0.001)
    assert pace.most == LEAST


@pytest.mark.parametrize("limit", [1, 10, LEAST, 2_000])
def test_it_stays_between_its_bounds(limit) -> None:
    pace = Pace(limit)
    for seconds in (0.001, 9.0, 0.001, 0.001, 9.0, 9.0):
        pace.note(pace.most, 0.0, seconds)
        assert min(LEAST, limit) <= pace.most <= limit


def test_few_messages_gather_and_many_do_not() -> None:
    pace = Pace(2_000)
    pace.note(1, 100.0, 100.001)
    assert pace.gather_until == 100.0 + GATHER_S
    pace.note(LEAST, 100.0, 100.001)
    assert pace.gather_until == 0.0


def test_a_batch_that_was_full_is_not_waited_for_whatever_the_limit() -> None:
    pace = Pace(1)
    pace.note(1, 100.0, 100.001)
    assert pace.gather_until == 0.0
