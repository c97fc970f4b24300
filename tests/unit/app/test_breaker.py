"""The breaker opens after failures in a row, and one probe decides whether it closes."""

from paidonce.app.breaker import Breaker


class HandClock:
    def __init__(self):
        self.seconds = 100.0

    def now(self):
        raise AssertionError("the breaker measures time, it does not tell it")

    def monotonic(self):
        return self.seconds


def an_open_breaker():
    clock = HandClock()
    breaker = Breaker(clock, failures=3, open_s=5.0)
    for _ in range(3):
        assert breaker.enter()
        breaker.report(alive=False)
    return breaker, clock


def test_closed_lets_all_through():
    breaker = Breaker(HandClock(), failures=3, open_s=5.0)
    assert breaker.room(16) == 16
    assert breaker.room(0) == 0


def test_failures_must_be_in_a_row():
    breaker = Breaker(HandClock(), failures=3, open_s=5.0)
    for alive in (False, False, True, False, False):
        breaker.enter()
        breaker.report(alive=alive)
    assert breaker.room(16) == 16


def test_open_lets_none_through_until_its_time_is_over():
    breaker, clock = an_open_breaker()
    clock.seconds += 4.9
    assert breaker.room(16) == 0
    assert not breaker.enter()
    clock.seconds += 0.1
    assert breaker.room(16) == 1


def test_half_open_lets_one_probe_through():
    breaker, clock = an_open_breaker()
    clock.seconds += 5
    assert breaker.enter()
    assert breaker.room(16) == 0
    assert not breaker.enter()


def test_a_probe_that_is_answered_closes_it():
    breaker, clock = an_open_breaker()
    clock.seconds += 5
    breaker.enter()
    breaker.report(alive=True)
    assert breaker.room(16) == 16


def test_a_probe_that_fails_opens_it_for_the_whole_time_again():
    breaker, clock = an_open_breaker()
    clock.seconds += 6
    breaker.enter()
    breaker.report(alive=False)
    clock.seconds += 4.9
    assert breaker.room(16) == 0
    clock.seconds += 0.1
    assert breaker.room(16) == 1


def test_a_probe_that_asked_nothing_decides_nothing():
    breaker, clock = an_open_breaker()
    clock.seconds += 5
    breaker.enter()
    breaker.report(alive=None)
    assert breaker.room(16) == 1


def test_failures_of_calls_begun_before_it_opened_do_not_prolong_it():
    breaker, clock = an_open_breaker()
    clock.seconds += 4
    breaker.report(alive=False)
    clock.seconds += 1
    assert breaker.room(16) == 1
