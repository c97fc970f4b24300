"""Is what stays open without a fault seen, and what a long-lived process holds more and more of?"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from paidonce.chaos import growth
from paidonce.chaos.checkers.waiting import GROWTH_MOST_BYTES, LOOKS_LEAST, calm, flat, outages, prompt
from paidonce.chaos.facts import Facts, Fault, Size, Wait


def fault(fired: float | None, healed: float | None = None, back: float | None = None, kind: str = "kill") -> Fault:
    return Fault(kind=kind, target="relay", fired_at=fired, healed_at=healed, back_after_s=back)


def test_faults_that_overlap_are_one_outage_and_a_wrong_clock_is_none() -> None:
    found = outages([fault(10.0, 12.0, 3.0), fault(14.0, 14.0, 6.0), fault(30.0), fault(None), fault(1.0, kind="skew")])
    assert found == [(10.0, 20.0), (30.0, 30.0)]


@pytest.mark.parametrize(
    ("span", "left"),
    [((0.0, 5.0), 5.0), ((12.0, 18.0), 0.0), ((5.0, 15.0), 5.0), ((5.0, 45.0), 25.0), ((19.0, 31.0), 10.0)],
)
def test_only_seconds_without_a_fault_count(span: tuple[float, float], left: float) -> None:
    assert calm(span, [(10.0, 20.0), (30.0, 35.0)]) == left


def test_what_goes_on_too_long_after_the_fault_breaks_the_promise() -> None:
    wait = Wait(what="refund", subject="r-1", began=0.0, ended=75.0)
    facts = Facts(waits=[wait], faults=[fault(10.0, 40.0, 20.0)], drain_within_s=30.0)
    assert prompt(facts) == (1, [])
    late = replace(facts, waits=[replace(wait, ended=85.5)])
    examined, (violation,) = prompt(late)
    assert (examined, violation.what) == (1, "the refund r-1 took 36 s without a fault")


def looks(memory: Callable[[int], float], files: Callable[[int], float] = lambda _: 20) -> list[Size]:
    return [
        Size(name="relay-2", pid=7, at=10.0 * number, memory=int(memory(number)), files=int(files(number)))
        for number in range(3 * LOOKS_LEAST)
    ]


def test_what_grows_at_first_and_then_no_more_is_flat() -> None:
    assert flat(Facts(sizes=looks(lambda number: 60e6 + min(number, 20) * 1e6))) == (1, [])


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (looks(lambda number: 30e6 + number * GROWTH_MOST_BYTES / (LOOKS_LEAST - 1)), "holds more and more memory"),
        (looks(lambda _: 60e6, lambda number: 20 + number / 4), "holds more and more files"),
        ([*looks(lambda _: 60e6), Size(name="relay-2", pid=8, at=1e3, memory=1, files=1)], "no fault had stopped it"),
    ],
)
def test_growth_is_seen_and_so_is_an_end_that_was_no_fault(sizes: list[Size], said: str) -> None:
    examined, (violation,) = flat(Facts(sizes=sizes))
    assert examined == 1
    assert said in violation.what


def test_a_process_that_was_hardly_looked_at_counts_as_not_looked_at() -> None:
    assert flat(Facts(sizes=looks(lambda _: 60e6)[: LOOKS_LEAST - 1])) == (0, [])


@dataclass
class OneProcess:
    """A stack of which this test is the only process."""

    pid: int = os.getpid()

    def process(self, _name: str) -> "OneProcess":
        return self


def test_what_a_process_holds_is_noted_while_it_lives(tmp_path: Path) -> None:
    with growth.watched(cast("Any", OneProcess()), ["tests"], tmp_path, every_s=0.005):
        for _ in range(10_000):
            if len(growth.sizes(tmp_path)) > 1:
                break
    first, *_ = growth.sizes(tmp_path)
    assert (first.name, first.pid) == ("tests", os.getpid())
    assert first.memory > 1e6
    assert first.files > 2
