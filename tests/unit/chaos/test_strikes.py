"""Does a strike hit the pass that it names, once in a log, and say so before? With processes of this test's own."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from paidonce.chaos.strikes import Strike, StrikeFormError, Striker, StruckError

#: Passes a step so often, and says each time that it came through.
PASSING = """
import sys
from pathlib import Path
from paidonce.app import steps
from paidonce.chaos.strikes import Strike, Striker

@steps.step("here.pass")
def passed(number):
    print(number, flush=True)

steps.listen(Striker([Strike.parse(text) for text in sys.argv[2:]], Path(sys.argv[1])))
for number in range(1, 7):
    passed(number)
"""


def run(log: Path, *strikes: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-c", PASSING, str(log), *strikes]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def struck(log: Path) -> list[tuple[str, int]]:
    found = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    return [(line["strike"], line["number"]) for line in found if line["type"] == "struck"]


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("a.b:before:kill", {1}),
        ("a.b:after:exception:3", {3}),
        ("a.b:before:delay=0.2:*", {1, 2, 3, 4, 5, 6}),
        ("a.b:before:stop=4:/2", {2, 4, 6}),
    ],
)
def test_a_strike_is_due_on_the_passes_that_it_names(text: str, passes: set[int]) -> None:
    strike = Strike.parse(text)
    assert {number for number in range(1, 7) if strike.due(number)} == passes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b:before",
        "a.b:during:kill",
        "a.b:before:burn",
        "a.b:before:kill:0",
        "a:before:kill",
        "a.b:before:kill:/0",
    ],
)
def test_what_is_no_strike_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(StrikeFormError, match="STEP:before"):
        Strike.parse(text)


@pytest.mark.parametrize(("when", "through"), [("before", ["1", "2"]), ("after", ["1", "2", "3"])])
def test_a_kill_comes_before_or_after_its_pass_and_spares_the_successor(
    tmp_path: Path, when: str, through: list[str]
) -> None:
    log, strike = tmp_path / "log", f"here.pass:{when}:kill:3"
    first = run(log, strike)
    assert (first.returncode, first.stdout.split()) == (-signal.SIGKILL, through)
    assert struck(log) == [(strike, 3)]
    second = run(log, strike)
    assert (second.returncode, second.stdout.split()) == (0, ["1", "2", "3", "4", "5", "6"])
    assert struck(log) == [(strike, 3)]


@pytest.mark.slow
def test_a_strike_that_repeats_hits_the_successor_too(tmp_path: Path) -> None:
    log, strike = tmp_path / "log", "here.pass:before:exception:/2"
    assert [run(log, strike).returncode, run(log, strike).returncode] == [1, 1]
    assert struck(log) == [(strike, 2), (strike, 2)]


@pytest.mark.slow
def test_a_stopped_process_stands_still_and_goes_on(tmp_path: Path) -> None:
    found = run(tmp_path / "log", "here.pass:before:stop=0.5:2", "here.pass:after:delay=0.1:2")
    assert (found.returncode, found.stdout.split()) == (0, ["1", "2", "3", "4", "5", "6"])
    assert [number for _, number in struck(tmp_path / "log")] == [2, 2]


def test_the_log_names_each_step_once_when_first_reached(tmp_path: Path) -> None:
    run(tmp_path / "log")
    found = [orjson.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert [(line["type"], line["step"], line["when"]) for line in found] == [
        ("reached", "here.pass", "before"),
        ("reached", "here.pass", "after"),
    ]


def test_passes_count_from_the_begin_where_one_is_named(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    striker = Striker([Strike.parse("a.b:before:exception:2")], tmp_path / "log", begun)
    for _ in range(5):
        striker.before("a.b")
    begun.touch()
    striker.before("a.b")
    with pytest.raises(StruckError):
        striker.before("a.b")
    found = [orjson.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert [(line["type"], line.get("number")) for line in found] == [("reached", None), ("struck", 2)]


def test_an_exception_is_one_that_nobody_foresaw() -> None:
    striker = Striker([Strike.parse("a.b:before:exception")])
    with pytest.raises(StruckError, match=r"a\.b:before:exception"):
        striker.before("a.b")
    striker.before("a.b")


LAUNCHED = [sys.executable, "-m", "paidonce.chaos.launch"]


def test_the_launcher_runs_what_the_command_line_would() -> None:
    found = subprocess.run([*LAUNCHED, "brake", "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0
    assert "Consumers that stopped" in found.stdout


def test_the_launcher_refuses_a_strike_of_no_form() -> None:
    argv = [*LAUNCHED, "--strike", "relay.commit:sometimes:kill", "relay"]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2
    assert "STEP:before|after" in found.stderr


SKEWED = """

from paidonce.chaos import clock_skew
from paidonce.app.clock import SystemClock, new_id
clock_skew.install(-86_400)
print(SystemClock().now().timestamp(), int(new_id().hex[:12], 16) / 1000)
"""


def test_a_skewed_process_dates_its_ids_by_its_own_clock() -> None:
    found = subprocess.run([sys.executable, "-c", SKEWED], capture_output=True, text=True, timeout=60, check=True)
    yesterday = datetime.now(UTC).timestamp() - 86_400
    for told in found.stdout.split():
        assert abs(float(told) - yesterday) < 60, os.linesep.join(found.stdout.split())
