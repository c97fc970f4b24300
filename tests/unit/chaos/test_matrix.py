"""Is a missing safeguard found only when the named checker reports the named bug?"""

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from paidonce.chaos import matrix_command
from paidonce.chaos.checkers import CHECKERS
from paidonce.chaos.checkers.verdict import Violation
from paidonce.chaos.facts import Drained, Facts, Result
from paidonce.chaos.matrix import Row, Trial, finders, judged, smallest_evidence, trials
from paidonce.chaos.plan import Finds, Plan, PlanError, load
from paidonce.chaos.report import report
from paidonce.chaos.sabotage import SAFEGUARDS

FINDS = Finds(safeguard="S12", checker="one-capture", bug=r"was charged \d+ times(\n.*key charge-\S+-\d,.*){2}")
PLAN = Plan(name="mine", says="", finds=(FINDS,))


def made(facts: Facts) -> Result:
    return Result(
        plan="mine",
        seed=1,
        payments=2,
        load_s=7.0,
        through=2,
        drain_within_s=30.0,
        drained=Drained(1.0),
        facts=facts,
    )


def charged_twice(facts: Facts, *keys: str) -> Facts:
    charge = facts.charges[0]
    return replace(facts, charges=[replace(charge, id=f"ch-{key}", key=key) for key in keys])


def test_found_is_what_the_named_checker_says_of_the_named_bug(good: Facts) -> None:
    trial = Trial(PLAN, FINDS, seed=1, round=1)
    row = judged(trial, report(made(charged_twice(good, "charge-p-1", "charge-p-2"))))
    assert row.passed
    assert row.said == "payment p-1 was charged 2 times"
    assert len(row.evidence) == 2
    assert "books-agree" in row.besides


def test_another_bug_of_the_named_checker_is_not_found(good: Facts) -> None:
    row = judged(Trial(PLAN, FINDS, seed=1, round=1), report(made(charged_twice(good, "charge-p", "charge-p"))))
    assert not row.passed
    assert row.verdict == "invalid"
    assert "one-capture does not say" in row.said


def test_another_checker_does_not_find_it(good: Facts) -> None:
    row = judged(Trial(PLAN, FINDS, seed=1, round=1), report(made(replace(good, topic=good.topic[1:]))))
    assert not row.passed
    assert row.besides == ("published-once",)


def test_a_control_passes_only_when_it_is_valid(good: Facts) -> None:
    trial = Trial(PLAN, None, seed=1, round=1)
    assert judged(trial, report(made(good))).passed
    unknown = judged(trial, report(made(replace(good, faults=[replace(good.faults[0], fired_at=None)]))))
    assert (unknown.passed, unknown.verdict) == (False, "unknown")
    assert not judged(trial, report(made(charged_twice(good, "a", "b")))).passed


def test_the_evidence_is_the_smallest(good: Facts) -> None:
    found = report(made(charged_twice(good, "charge-p-1", "charge-p-2"))).findings
    long = Violation("was charged 3 times", ("key charge-p-1,", "key charge-p-2,", "key charge-p-3,"))
    more = [replace(one, violations=(long, *one.violations)) if one.violations else one for one in found]
    assert smallest_evidence(more, FINDS) == next(one for one in found if one.violations).violations[0]


def test_every_safeguard_has_one_plan_whose_checker_exists() -> None:
    found = finders()
    assert sorted(found) == sorted(SAFEGUARDS)
    names = {checker.name for checker in CHECKERS}
    for plan, finds in found.values():
        assert finds.checker in names, finds
        re.compile(finds.bug)
        assert plan.name in {"edges", "keyless", "late", "replay", "sleepers", "twins", "windows"}


def test_each_round_has_each_plan_once_as_a_control_and_a_seed_of_its_own() -> None:
    wanted = trials(["S1", "S12", "S8"], seed=5, rounds=2)
    named = [(one.plan.name, one.finds.safeguard if one.finds else None, one.seed) for one in wanted]
    first = [("twins", None, 5), ("twins", "S1", 5), ("twins", "S12", 5), ("sleepers", None, 5), ("sleepers", "S8", 5)]
    assert named == first + [(plan, safeguard, 6) for plan, safeguard, _ in first]
    assert len({one.name for one in wanted}) == len(wanted)


def test_a_plan_for_a_safeguard_that_there_is_not_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('says = ""\n[[finds]]\nsafeguard = "S17"\nchecker = "one-capture"\nbug = ""\n')
    with pytest.raises(PlanError, match=r"finds\.0\.safeguard: Value error, is none of S1, "):
        load(str(path))


def test_the_command_ends_with_1_unless_all_passed_and_counts_controls_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pretend(*, control: bool, found: bool) -> list[Row]:
        trial = Trial(PLAN, FINDS, seed=1, round=1)
        return [
            Row(replace(trial, finds=None), passed=control, verdict="valid", said=""),
            Row(trial, passed=found, verdict="invalid", said="charged [2] times", evidence=("key 1",)),
        ]

    def status(*, control: bool, found: bool) -> int:
        monkeypatch.setattr(matrix_command, "matrix", lambda *_: pretend(control=control, found=found))
        return matrix_command.run(["S12"], seed=1, rounds=1, folder=tmp_path, json=tmp_path / "copy.json")

    assert status(control=True, found=True) == 0
    assert '"found":1,"of":1,"not_found":[],"controls_valid":1' in capsys.readouterr().out.splitlines()[-1]
    assert (tmp_path / "copy.json").read_bytes() == (tmp_path / "matrix.json").read_bytes()
    assert status(control=True, found=False) == 1
    assert '"not_found":["1-S12"]' in capsys.readouterr().out
    assert status(control=False, found=True) == 1
    assert '"controls_not_valid":["1-mine"]' in capsys.readouterr().out


def test_the_table_shows_the_first_evidence() -> None:
    console = Console(record=True, width=160, file=StringIO())
    row = Row(
        Trial(PLAN, FINDS, seed=1, round=1), passed=True, verdict="invalid", said="charged [2]", evidence=("by a",)
    )
    matrix_command.show([row], console)
    text = console.export_text()
    assert "charged [2]" in text
    assert "by a" in text
