"""Does the report say what happened, in words that a stranger understands, and never `valid` when it is not?"""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from paidonce.chaos.checkers import CHECKERS
from paidonce.chaos.facts import Drained, Facts, Fault, Result
from paidonce.chaos.report import as_json, report, show, write


def result(facts: Facts, drained: Drained = Drained(1.25)) -> Result:  # noqa: B008  frozen
    return Result(
        plan="demo", seed=42, payments=2, load_s=7.0, through=2, drain_within_s=30.0, drained=drained, facts=facts
    )


def printed(facts: Facts, drained: Drained | None = None) -> str:
    console = Console(record=True, width=200, file=StringIO())
    show(report(result(facts, drained or Drained(1.25))), console, Path("reports/demo-1"))
    return console.export_text()


def test_a_good_run_is_reported_with_its_figures(good: Facts) -> None:
    text = printed(good)
    assert "Verdict: valid" in text
    for sentence in (
        "2 (1 canceled, 1 captured)",
        "1 at the provider (1 captured)",
        "4 on the Kafka topic for 4 committed",
        "1 requests got the first answer again; 1 of 3 calls to the provider moved nothing new",
        "1 answered 409 (1 idempotency-key-reused)",
        "900 captured -       300 refunded =        600",
        "at  1.5 s,  0 requests open, working again 0.4 s later",
        "1.2 s until everything was final",
        "--seed 42",
        "reports/demo-1/",
    ):
        assert sentence in text, sentence
    assert text.count("kept") >= len(CHECKERS)


def test_a_broken_promise_is_shown_with_its_smallest_evidence(good: Facts) -> None:
    twice = replace(good, charges=[*good.charges, replace(good.charges[0], id="ch-2", key="attempt-2")])
    text = printed(twice)
    assert "Verdict: invalid" in text
    assert "one-capture: payment p-1 was charged 2 times" in text
    assert "provider charge ch-2 (captured) 900 EUR, key attempt-2, payment p-1" in text


def test_what_is_stuck_after_the_drain_is_a_violation(good: Facts) -> None:
    text = printed(good, Drained(30.1, {"payments charging": 2}))
    assert "Verdict: invalid" in text
    assert "drained: not everything was final 30 s after the load" in text
    assert "2 payments charging" in text


def test_a_kill_that_did_not_fire_is_unknown_and_said(good: Facts) -> None:
    text = printed(
        replace(good, faults=[Fault(number=1, kind="kill", target="effects", fired_at=None, saw="nobody there")])
    )
    assert "Verdict: unknown" in text
    assert "did not fire" in text.split("Verdict")[0]
    assert "fault 1, kill effects, did not fire: nobody there" in text


def test_clients_that_were_cut_off_make_the_run_unknown(good: Facts) -> None:
    made = report(replace(result(good), through=1))
    assert (made.verdict, made.reasons) == ("unknown", ["the clients were through with 1 of 2 payments only"])


@pytest.mark.parametrize("charges", [1, 2])
def test_the_files_say_the_same(good: Facts, tmp_path: Path, charges: int) -> None:
    copies = [replace(good.charges[0], id=f"ch-{number + 1}") for number in range(charges)]
    made = report(result(replace(good, charges=copies)))
    write(made, tmp_path)
    document = orjson.loads((tmp_path / "report.json").read_bytes())
    assert document == orjson.loads(orjson.dumps(as_json(made)))
    assert document["verdict"] == ("valid" if charges == 1 else "invalid")
    assert document["seed"] == 42
    assert document["found"]["charges"] == {"captured": charges}
    assert document["found"]["ledger"] == [
        {"tenant": "acme", "currency": "EUR", "captured": 900, "refunded": 300, "owed": 600}
    ]
    assert f"# Verdict: {document['verdict']}" in (tmp_path / "report.md").read_text()


def test_text_of_the_evidence_is_never_taken_for_markup(good: Facts) -> None:
    facts = replace(good, dead_letters=["ledger e-1 [red]oh[/nothing]"])
    assert "[red]oh[/nothing]" in printed(facts)
