from threading import Event

import pytest

from paidonce.workers.aside import Call, LeftBehindError


def nothing() -> None:
    pass


def test_the_result_comes_back() -> None:
    assert Call(lambda a, b: a + b, 1, 2).result(limit_s=5, meanwhile=nothing) == 3


def test_it_runs_before_anybody_waits_for_it() -> None:
    done = Event()
    call = Call(done.set)
    assert done.wait(10)
    assert call.result(limit_s=5, meanwhile=nothing) is None


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("its own")])
def test_its_error_comes_back(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        Call(fail).result(limit_s=5, meanwhile=nothing)


def test_a_call_that_never_returns_is_left_behind_at_its_limit() -> None:
    never = Event()
    with pytest.raises(LeftBehindError):
        Call(never.wait).result(limit_s=0.1, meanwhile=nothing)
    never.set()


def test_a_call_is_over_when_it_has_ended_or_never_will() -> None:
    ended, never, over = Call(nothing), Event(), Event()
    ended.result(limit_s=5, meanwhile=nothing)
    assert ended.is_over(limit_s=5)
    waiting = Call(never.wait, over=over)
    assert not waiting.is_over(limit_s=60)
    assert waiting.is_over(limit_s=0)
    assert not over.is_set()
    never.set()
    assert over.wait(10)


def test_what_meanwhile_raises_leaves_the_call_behind() -> None:
    never = Event()

    def lose() -> None:
        raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        Call(never.wait).result(limit_s=60, meanwhile=lose)
    never.set()
