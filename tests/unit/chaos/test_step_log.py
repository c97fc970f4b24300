"""Is what was struck at steps noted among the faults, and what was not reached too?"""

from pathlib import Path

import orjson
import pytest

from paidonce.chaos.fault_log import FaultLog, faults
from paidonce.chaos.plan import Plan
from paidonce.chaos.step_log import StepLogs

KILL, STOP = "relay.commit:after:kill:2", "relay.send:before:stop=4"
PLAN = Plan(name="struck", says="", strikes={"relay": (KILL, STOP), "effects": ("effects.call:before:delay",)})


def written(folder: Path) -> StepLogs:
    found = StepLogs(folder)
    lines = [
        {"type": "reached", "step": "relay.send", "when": "before", "at": 1.0, "pid": 1},
        {"type": "struck", "step": "relay.commit", "when": "after", "strike": KILL, "number": 2, "at": 2.0, "pid": 1},
        {"type": "reached", "step": "relay.send", "when": "before", "at": 3.5, "pid": 2},
    ]
    found.of("relay").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return found


def test_a_kill_is_over_when_a_successor_passes_a_step(tmp_path: Path) -> None:
    written(tmp_path).note(PLAN, FaultLog(tmp_path / "faults.jsonl"), first=7)
    told = {fault.saw.split(",")[0]: fault for fault in faults(tmp_path / "faults.jsonl")}
    assert sorted(fault.number for fault in told.values()) == [7, 8, 9]
    killed = told[KILL]
    assert (killed.kind, killed.target, killed.fired_at, killed.back_after_s) == ("strike", "relay", 2.0, 1.5)


def test_a_strike_that_was_not_reached_did_not_fire(tmp_path: Path) -> None:
    written(tmp_path).note(PLAN, FaultLog(tmp_path / "faults.jsonl"), first=1)
    missed = [fault.saw for fault in faults(tmp_path / "faults.jsonl") if fault.fired_at is None]
    assert missed == ["effects.call:before:delay was not reached in effects", f"{STOP} was not reached in relay"]


def test_every_step_that_some_process_passed_was_reached(tmp_path: Path) -> None:
    assert written(tmp_path).reached() == {("relay.send", "before")}


def test_a_process_with_a_folder_of_its_own_finds_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert StepLogs(Path()).of("relay").is_absolute()
