"""Does shrinking find the faults that a failure needs, and keep to its bounds? With predicates made by hand."""

from collections.abc import Callable, Collection, Sequence

import pytest

from paidonce.chaos.shrink import Shrunk, shrink

ALL = range(1, 13)


def shrunk(fails: Callable[[Sequence[int]], bool], **bounds: float) -> tuple[Shrunk, list[str]]:
    told: list[str] = []
    limits = {"runs_most": 200, "seconds_most": 1e9} | bounds
    return shrink(ALL, fails, told.append, **limits), told  # type: ignore[arg-type]  # counts are whole here


@pytest.mark.parametrize("needed", [{5}, {1, 12}, {3, 7}, {2, 3, 11}, {1, 2, 3, 4, 5}, set(ALL)])
def test_exactly_the_faults_that_it_needs_are_left(needed: set[int]) -> None:
    found, _ = shrunk(lambda only: needed <= set(only))
    assert (set(found.only), found.of, found.smallest) == (needed, 12, True)


def test_a_load_that_fails_by_itself_needs_no_fault() -> None:
    found, _ = shrunk(lambda _: True)
    assert (found.only, found.runs) == ((), 1)


def test_either_of_two_causes_is_enough() -> None:
    found, _ = shrunk(lambda only: {2, 9} <= set(only) or {4} <= set(only))
    assert set(found.only) in ({2, 9}, {4})


def test_what_it_names_was_seen_to_fail_however_erratic_the_runs_are() -> None:
    seen: list[tuple[int, ...]] = [tuple(ALL)]

    def fails(only: Collection[int]) -> bool:
        failed = bool({3, 7} <= set(only) and len(seen) % 3)
        seen.append(tuple(only)) if failed else seen.append(())
        return failed

    found, _ = shrunk(fails)
    assert found.only in seen
    assert {3, 7} <= set(found.only)


def test_no_set_of_faults_is_tried_twice() -> None:
    tried: list[tuple[int, ...]] = []
    shrunk(lambda only: tried.append(tuple(only)) or {3, 7, 8} <= set(only))  # type: ignore[func-returns-value]
    assert len(tried) == len(set(tried))


def test_it_ends_at_its_most_runs_and_says_that_fewer_may_do() -> None:
    found, told = shrunk(lambda only: {3, 7} <= set(only), runs_most=4)
    assert (found.runs, found.smallest, len(told)) == (4, False, 4)
    assert {3, 7} <= set(found.only)


def test_it_ends_at_its_most_seconds() -> None:
    clock = iter(range(0, 1000, 10))
    found = shrink(ALL, lambda only: {3, 7} <= set(only), lambda _: None, seconds_most=35.0, now=lambda: next(clock))
    assert found.runs < 5
    assert not found.smallest


def test_each_run_is_told() -> None:
    _, told = shrunk(lambda only: {5} <= set(only))
    assert told[0] == "shrinking, run 1: with no fault it does not fail"
    assert any(line.endswith("with fault 5 it fails") for line in told)
