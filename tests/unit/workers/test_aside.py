from threading import Event

import pytest

from paidonce.workers.aside import LeftBehindError, call


def test_the_result_comes_back() -> None:
    assert call(lambda a, b: a + b, 1, 2, limit_s=5, meanwhile=lambda: None, stop=Event(), stop_s=5) == 3


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("its own")])
def test_its_error_comes_back(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        call(fail, limit_s=5, meanwhile=lambda: None, stop=Event(), stop_s=5)


def test_a_call_that_never_returns_is_left_behind_at_its_limit() -> None:
    never = Event()
    with pytest.raises(LeftBehindError):
        call(never.wait, limit_s=0.1, meanwhile=lambda: None, stop=Event(), stop_s=5)
    never.set()


def test_a_call_that_never_returns_does_not_hold_a_stop() -> None:
    never, stop = Event(), Event()
    with pytest.raises(LeftBehindError):
        call(never.wait, limit_s=60, meanwhile=stop.set, stop=stop, stop_s=0.1)
    never.set()


def test_what_meanwhile_raises_leaves_the_call_behind() -> None:
    never = Event()

    def lose() -> None:
        raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        call(never.wait, limit_s=60, meanwhile=lose, stop=Event(), stop_s=60)
    never.set()
