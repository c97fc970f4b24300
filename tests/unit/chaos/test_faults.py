"""Is a kill recorded only when it really fired? With real processes and a supervisor of this test's own."""

import subprocess
from collections.abc import Iterator, Mapping
from time import monotonic

import pytest

from paidonce.chaos.facts import Fault
from paidonce.chaos.faults import Strike, strike


class Sleepers:
    """Processes that do nothing, each started again as soon as somebody looks."""

    def __init__(self, *names: str, deaf: bool = False) -> None:
        self.running = {name: self._start() for name in names}
        self.deaf = deaf

    def pids(self) -> Mapping[str, int]:
        for name, process in self.running.items():
            if process.poll() is not None:
                self.running[name] = self._start()
        return {name: process.pid for name, process in self.running.items()}

    def kill(self, name: str) -> None:
        if not self.deaf:
            self.running[name].kill()

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["sleep", "60"])


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    found = Sleepers("relay", "effects")
    yield found
    found.close()


def test_each_kill_fires_on_time_and_its_successor_is_seen(sleepers: Sleepers) -> None:
    before, told, began = dict(sleepers.pids()), list[Fault](), monotonic()
    plan = [Strike("relay", 0.05), Strike("effects", 0.1), Strike("relay", 0.2)]
    done = strike(sleepers, plan, began, told.append)
    assert [fault.target for fault in done] == ["relay", "effects", "relay"]
    assert [fault.fired_at is not None for fault in done] == [True] * 3
    assert monotonic() - began >= 0.2
    assert done[0].pid == before["relay"]
    assert done[2].pid not in {None, before["relay"]}
    assert all(fault.back_after_s is not None and fault.back_after_s < 5 for fault in done)
    assert [fault.target for fault in told] == ["relay", "effects", "relay"]


def test_a_kill_of_nobody_or_without_effect_did_not_fire(sleepers: Sleepers) -> None:
    sleepers.deaf = True
    done = strike(sleepers, [Strike("ghost", 0.0), Strike("relay", 0.0)], monotonic(), lambda _: None)
    assert [(fault.target, fault.fired_at, fault.back_after_s) for fault in done] == [
        ("ghost", None, None),
        ("relay", None, None),
    ]
