"""Is every planned fault accounted for, whatever its nemesis stumbles over? With nemeses made by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.carry_out import carry_out
from paidonce.chaos.facts import Fault
from paidonce.chaos.nemeses import KINDS
from paidonce.chaos.schedule import Planned
from paidonce.devstack.errors import StackError
from paidonce.devstack.stack import Stack


class Ready:
    """Stands in for a stack whose processes are ready, or never are again."""

    def __init__(self, *, ready: bool) -> None:
        self._ready = ready

    def names(self) -> list[str]:
        return ["relay"]

    def wait_ready(self, *_names: str, within_s: float) -> None:
        if not self._ready:
            raise StackError(f"not within {within_s}")


@contextmanager
def strikes(_arena: Arena, planned: Planned) -> Iterator[str]:
    yield f"struck {planned.target}"


@contextmanager
def misses(_arena: Arena, _planned: Planned) -> Iterator[str]:
    raise DidNotFireError("nobody was there")
    yield ""


@contextmanager
def breaks_down(_arena: Arena, _planned: Planned) -> Iterator[str]:
    raise ValueError("unforeseen")
    yield ""


@contextmanager
def cannot_heal(_arena: Arena, _planned: Planned) -> Iterator[str]:
    yield "struck"
    raise StackError("it does not start again")


def carried_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *nemeses: Any, ready: bool = True
) -> tuple[list[Fault], list[int]]:
    for nemesis in nemeses:
        monkeypatch.setitem(KINDS, nemesis.__name__, nemesis)
    planned = [Planned(number=n, kind=one.__name__, target="relay", at_s=0.0) for n, one in enumerate(nemeses, 1)]
    told: list[int] = []
    arena = Arena(cast("Stack", Ready(ready=ready)), folder)
    return carry_out(arena, planned, monotonic(), lambda fault: told.append(fault.number)), told


def test_what_fired_was_healed_and_got_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,), told = carried_out(tmp_path, monkeypatch, strikes)
    assert (fault.saw, told) == ("struck relay", [1])
    assert fault.fired_at is not None
    assert fault.back_after_s is not None


def test_one_that_was_not_got_over_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,), _ = carried_out(tmp_path, monkeypatch, strikes, ready=False)
    assert fault.healed_at is not None
    assert fault.back_after_s is None


def test_one_that_breaks_down_did_not_fire_and_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (missed, broken, good), told = carried_out(tmp_path, monkeypatch, misses, breaks_down, strikes)
    assert (missed.fired_at, missed.saw) == (None, "nobody was there")
    assert (broken.fired_at, broken.saw) == (None, "ValueError: unforeseen")
    assert good.back_after_s is not None
    assert told == [1, 2, 3]


def test_one_that_cannot_be_healed_was_not_got_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,), _ = carried_out(tmp_path, monkeypatch, cannot_heal)
    assert fault.fired_at is not None
    assert (fault.healed_at, fault.back_after_s) == (None, None)
    assert fault.saw == "StackError: it does not start again"
