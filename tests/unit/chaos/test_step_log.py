"""Does the evidence show what the launcher did? A skewed clock as its process saw it, a strike where it hit."""

import subprocess
import sys
from pathlib import Path
from time import time

import orjson
import pytest

from paidonce.chaos import launch
from paidonce.chaos.facts import Fault
from paidonce.chaos.fault_log import FaultLog, faults
from paidonce.chaos.plan import Faults, Plan
from paidonce.chaos.step_log import StepLogs, launched

PLAN = Plan(
    name="mixed",
    says="",
    faults=(Faults(kind="kill", targets=("relay", "effects"), times=2),),
    strikes={"relay": ("relay.publish:after:kill:3", "relay.publish:before:delay:*")},
    skew_s={"effects": -40.0},
)


def write(log: Path, *lines: dict[str, object]) -> None:
    log.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def noted(folder: Path) -> dict[int, Fault]:
    logs = StepLogs(folder)
    logs.note(launched(PLAN), FaultLog(folder / "faults.jsonl"))
    return {fault.number: fault for fault in faults(folder / "faults.jsonl")}


def test_the_numbers_go_on_from_the_schedule_and_only_chooses_by_them() -> None:
    assert [(one.number, one.kind, one.target) for one in launched(PLAN)] == [
        (5, "strike", "relay"),
        (6, "strike", "relay"),
        (7, "skew", "effects"),
    ]
    assert [one.number for one in launched(PLAN, {1, 6, 7})] == [6, 7]


def test_a_launched_process_says_by_how_much_its_clock_is_off(tmp_path: Path) -> None:
    log = StepLogs(tmp_path).of("effects")
    # Any process of ours will do: the clock is set before it starts.
    subprocess.run([*launch.arguments(skew_s=-40.0, log=log), "chaos", "plans"], check=True, capture_output=True)
    (line,) = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert (line["type"], line["ahead_s"]) == ("skewed", -40.0)
    assert abs(line["at"] - time()) < 3600.0


def test_without_a_skew_nothing_is_said(tmp_path: Path) -> None:
    log = tmp_path / "steps.jsonl"
    subprocess.run([sys.executable, "-m", "paidonce.chaos.launch", "--log", str(log), "chaos", "plans"], check=True)
    assert log.read_bytes() == b""


def test_a_clock_that_was_off_while_steps_were_passed_fired(tmp_path: Path) -> None:
    write(
        StepLogs(tmp_path).of("effects"),
        {"type": "skewed", "at": 5.0, "pid": 1, "ahead_s": -40.0},
        {"type": "reached", "at": 6.0, "pid": 1, "step": "effects.claim", "when": "before"},
        {"type": "skewed", "at": 7.0, "pid": 2, "ahead_s": -40.0},
    )
    fault = noted(tmp_path)[7]
    assert (fault.fired_at, fault.back_after_s) == (5.0, 0.0)
    assert fault.saw == "clock -40 s in 2 processes, which passed 1 steps by it"


def test_a_clock_that_was_right_or_that_nobody_used_did_not_fire(tmp_path: Path) -> None:
    log = StepLogs(tmp_path).of("effects")
    write(log, {"type": "skewed", "at": 5.0, "pid": 1, "ahead_s": -40.0})
    assert noted(tmp_path)[7].fired_at is None
    write(
        log,
        {"type": "skewed", "at": 5.0, "pid": 1, "ahead_s": 0.0},
        {"type": "reached", "at": 6.0, "pid": 1, "step": "effects.claim", "when": "before"},
    )
    assert noted(tmp_path)[7].fired_at is None


def test_a_strike_that_killed_is_over_when_a_successor_passes_a_step(tmp_path: Path) -> None:
    write(
        StepLogs(tmp_path).of("relay"),
        {"type": "struck", "at": 5.0, "pid": 1, "step": "relay.publish", "strike": "relay.publish:after:kill:3"},
        {"type": "reached", "at": 7.5, "pid": 2, "step": "relay.claim", "when": "before"},
    )
    found = noted(tmp_path)
    assert (found[5].fired_at, found[5].back_after_s) == (5.0, 2.5)
    assert found[6].fired_at is None
    assert "was not reached" in found[6].saw


def test_every_step_that_some_process_passed_was_reached(tmp_path: Path) -> None:
    write(
        StepLogs(tmp_path).of("relay"),
        {"type": "reached", "at": 1.0, "pid": 1, "step": "relay.send", "when": "before"},
        {"type": "struck", "at": 2.0, "pid": 1, "step": "relay.commit", "strike": "relay.commit:after:kill:2"},
    )
    assert StepLogs(tmp_path).reached() == {("relay.send", "before")}


def test_a_process_with_a_folder_of_its_own_finds_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert StepLogs(Path()).of("relay").is_absolute()
