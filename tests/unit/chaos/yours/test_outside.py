"""Is what can be seen from outside judged rightly? Hand-made histories with each violation, and without."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from paidonce.chaos import evidence
from paidonce.chaos.checkers import CHECKERS, applicable
from paidonce.chaos.facts import Charge, Drained, Facts, Fault, Result
from paidonce.chaos.history import Operation
from paidonce.chaos.page.story import story
from paidonce.chaos.report import report, show
from paidonce.chaos.yours.links import NOT_CHARGED, TENANT, linked, names
from paidonce.devstack.provider.journal import Journal


def paid_as(answer: dict[str, Any]) -> str | None:
    return answer.get("id")


def told(number: int, subject: str, amount: int, name: str | None, **changes: Any) -> Operation:
    values: dict[str, Any] = {
        "kind": "create",
        "tenant": TENANT,
        "method": "POST",
        "path": "/payments",
        "api": "http://127.0.0.1:1",
        "key": f"pay-{subject}",
        "request": {"amount": amount, "currency": "EUR"},
        "began": float(number),
        "ended": number + 0.5,
    }
    if name is None:
        values |= {"outcome": "info", "error": "TimeoutError"}
    else:
        values |= {"outcome": "ok", "status": 201, "body": orjson.dumps({"id": name}).decode()}
    return Operation(number=number, subject=subject, **(values | changes))


def charge(id_: str, reference: str, amount: int, status: str = "captured") -> Charge:
    return Charge(
        id=id_, key=f"key-{id_}", reference=reference, status=status, amount=amount, currency="EUR", at=float(amount)
    )


GOOD_SENT = (told(0, "s-1", 100, "p-1"), told(1, "s-1", 100, "p-1"), told(2, "s-2", 200, "p-2"))
GOOD_CHARGES = (charge("c-1", "p-1", 100), charge("c-2", "p-2", 200, "declined"))


def run(sent: Sequence[Operation] = GOOD_SENT, charges: Sequence[Charge] = GOOD_CHARGES, **changes: Any) -> Result:
    named = names(sent, paid_as)
    facts: dict[str, Any] = {
        "operations": sent,
        "charges": charges,
        "payments": linked(sent, named, charges),
        "named": named,
        "faults": [Fault(kind="kill", target="api-1", fired_at=0.5, healed_at=0.6, back_after_s=0.1)],
    }
    return Result(
        plan="yours",
        seed=1,
        payments=2,
        load_s=3.0,
        through=2,
        drain_within_s=40.0,
        drained=Drained(1.0),
        facts=Facts(**(facts | changes)),
        pipeline="somebody:Pipeline",
    )


def broken(result: Result) -> set[str]:
    return {checker.name for checker, _ in report(result).smallest}


def test_a_good_run_is_valid_and_says_what_nobody_looked_at() -> None:
    made = report(run())
    assert (made.verdict, made.reasons) == ("valid", [])
    looked_at = {finding.checker.name for finding in made.findings}
    unseen = {checker.name for checker in made.not_looked_at}
    assert not looked_at & unseen
    assert {checker.name for checker in CHECKERS} <= looked_at | unseen
    assert {"ledger-balances", "published-once", "books-agree"} <= unseen
    assert "looked at" in made.meaning


def test_our_own_runs_are_judged_by_every_checker() -> None:
    assert applicable(Result(plan="kills", seed=1, payments=1, load_s=1.0, through=1, drain_within_s=1.0,
                             drained=Drained(1.0), facts=Facts())) == CHECKERS  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "charges", "found"),
    [
        pytest.param(GOOD_SENT, (*GOOD_CHARGES, charge("c-3", "p-1", 100)), {"one-capture"}, id="charged twice"),
        pytest.param(
            (*GOOD_SENT, told(3, "s-1", 100, None)),
            (*GOOD_CHARGES, charge("c-3", "p-9", 100)),
            {"one-capture"},
            id="charged under another name, which only the amount tells",
        ),
        pytest.param(
            (*GOOD_SENT, told(3, "s-1", 100, "p-9")), GOOD_CHARGES, {"same-answer"}, id="two payments for one key"
        ),
        pytest.param(GOOD_SENT, GOOD_CHARGES[:1], {"nothing-lost"}, id="accepted and forgotten"),
        pytest.param(GOOD_SENT, (GOOD_CHARGES[0], charge("c-2", "p-2", 201)), {"right-amount"}, id="a wrong amount"),
        pytest.param(GOOD_SENT, (*GOOD_CHARGES, charge("c-3", "p-9", 999)), {"asked-for"}, id="nobody asked"),
        pytest.param(
            (*GOOD_SENT, told(3, "s-3", 300, "", outcome="fail", status=422)),
            (*GOOD_CHARGES, charge("c-3", "p-3", 300)),
            {"asked-for"},
            id="refused and charged",
        ),
    ],
)
def test_each_violation_is_found_by_its_own_checker(
    sent: Sequence[Operation], charges: Sequence[Charge], found: set[str]
) -> None:
    assert broken(run(sent, charges)) == found


def test_a_payment_that_nobody_was_told_of_is_not_lost_and_may_be_charged_once() -> None:
    unanswered = told(3, "s-3", 300, None)
    assert broken(run((*GOOD_SENT, unanswered))) == set()
    assert broken(run((*GOOD_SENT, unanswered), (*GOOD_CHARGES, charge("c-3", "p-3", 300)))) == set()


def test_what_a_duplicate_got_charged_is_not_lost() -> None:
    sent = (*GOOD_SENT, told(3, "s-1", 100, "p-9"))
    (row,) = [row for row in run(sent).facts.payments if row.id == "p-9"]
    assert (row.subject, row.status) == ("s-1", NOT_CHARGED)
    assert "nothing-lost" not in broken(run(sent))


def test_while_calls_still_come_nothing_is_called_lost() -> None:
    result = run(charges=GOOD_CHARGES[:1], at_rest=False)
    made = report(result)
    assert made.verdict == "unknown"
    assert "nothing-lost: nothing to look at" in made.reasons


def test_it_can_be_judged_again_without_the_adapter(tmp_path: Path) -> None:
    result = run(charges=(*GOOD_CHARGES, charge("c-3", "p-1", 100)), at_rest=False)
    journal = Journal(tmp_path / "provider.sqlite")
    for one in result.facts.charges:
        document = {"id": one.id, "status": one.status, "amount": one.amount, "currency": one.currency}
        journal.add_charge(
            document | {"reference": one.reference}, at=one.at or 0.0, call=0, key=one.key, payment_method=""
        )
    journal.close()
    evidence.save(tmp_path, result)
    again = evidence.load(tmp_path)
    assert again.pipeline == "somebody:Pipeline"
    assert set(again.facts.charges) == set(result.facts.charges)
    assert (again.facts.named, again.facts.at_rest) == (result.facts.named, False)
    assert list(again.facts.payments) == list(result.facts.payments)


def test_the_terminal_says_that_promises_were_not_looked_at(tmp_path: Path) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console(record=True, width=160, file=(tmp_path / "out").open("w"))
    show(report(run()), console, tmp_path)
    said = console.export_text()
    assert "not looked at: 21 promises" in said
    assert "ledger" not in said


def test_a_client_that_got_two_payments_for_one_key_has_one_story(tmp_path: Path) -> None:
    sent = (*GOOD_SENT, told(3, "s-1", 100, "p-9"))
    facts = run(sent, (*GOOD_CHARGES, charge("c-9", "p-9", 100))).facts
    found = story("p-1", facts, tmp_path)
    assert found.end == "captured, 100 EUR; also known as p-9; captured 2 times"
    assert {line.what.split(":")[0] for line in found.lines if line.place == "provider"} == {"charge c-1", "charge c-9"}
