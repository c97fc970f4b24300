"""The brake engages at its share of a full window, and never before the window is full."""

from paidonce.workers.consumer_brake import Brake


def after(pattern: str, window: int = 10, share: float = 0.5) -> bool:
    brake = Brake(window, share)
    for one in pattern:
        brake.note(poison=one == "x")
    return brake.engaged


def test_it_engages_at_its_share_of_a_full_window() -> None:
    assert not after("x" * 9)
    assert after("x" * 10)
    assert after("x" * 5 + "." * 5)
    assert not after("x" * 4 + "." * 6)


def test_it_forgets_what_is_older_than_the_window() -> None:
    assert not after("x" * 4 + "." * 7)
    assert not after("xx" + "." * 10 + "xxxx")


def test_a_copy_leaves_the_original_alone() -> None:
    brake = Brake(1, 1.0)
    brake.copy().note(poison=True)
    assert not brake.engaged
