"""What is a strike's result, and whose round is a violation that only the end brings to light?"""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from paidonce.chaos.atlas.judge import QUICK, Judge, subject_of
from paidonce.chaos.atlas.noting import note
from paidonce.chaos.atlas.rounds import result_of
from paidonce.chaos.atlas.targets import targets
from paidonce.chaos.checkers import CHECKERS
from paidonce.chaos.checkers.verdict import judge
from paidonce.chaos.facts import Facts, Fault
from paidonce.chaos.fault_log import faults
from paidonce.chaos.history import Operation
from paidonce.chaos.orders import Struck

STRUCK = Struck(1, 10.0, 9, "relay")


@pytest.mark.parametrize(
    ("struck", "failed", "not_back", "wrong", "result"),
    [
        (STRUCK, "", "", [], "valid"),
        (None, "", "", [], "unreached"),
        (STRUCK, "", "not ready: relay", [], "unknown"),
        (STRUCK, "the brake is still engaged", "", [], "invalid"),
        (STRUCK, "", "", ["one-capture: charged twice"], "invalid"),
    ],
)
def test_a_strike_is_valid_only_when_it_was_made_and_got_over(
    struck: Struck | None, failed: str, not_back: str, wrong: list[str], result: str
) -> None:
    assert result_of(struck, failed, not_back, wrong)[0] == result


def test_a_violation_is_told_once_and_names_its_payment(good: Facts, tmp_path: Path) -> None:
    one = Judge(cast("Any", None), tmp_path)
    twice = replace(good, charges=[*good.charges, replace(good.charges[0], id="ch-more")])
    (said, *_) = one.new(judge(twice, QUICK))
    assert one.new(judge(twice, CHECKERS)) == []
    assert subject_of(good, said) == "s-1"
    assert subject_of(good, "nothing that is known") is None


def test_a_sum_that_was_wrong_before_is_not_told_again_with_other_figures(good: Facts, tmp_path: Path) -> None:
    one = Judge(cast("Any", None), tmp_path)
    charge = good.charges[0]
    wrong = replace(good, charges=[*good.charges, replace(charge, id="ch-more")])
    later = replace(wrong, charges=[*wrong.charges, replace(charge, id="ch-third", reference="p-9")])
    assert any(said.startswith("ledger-balances") for said in one.new(judge(wrong, QUICK)))
    said = one.new(judge(later, QUICK))
    assert said
    assert not any("provider moved" in line and charge.currency in line and "acme" in line for line in said)


def test_strikes_are_noted_as_faults(tmp_path: Path) -> None:
    wanted = targets("relay.send", ["stop"])
    number = wanted[0].number
    note(tmp_path / "faults.jsonl", wanted, {number: Struck(number, 5.0, 9, "relay")}, {}, back=True)
    hit, missed = faults(tmp_path / "faults.jsonl")
    assert (hit.kind, hit.target, hit.fired_at, hit.healed_at) == ("strike", "relay", 5.0, 11.0)
    assert hit.back_after_s == 0.0
    assert (missed.fired_at, missed.saw) == (None, "relay.send:after:stop: nobody passed there")


def test_an_exception_in_the_api_explains_one_500_and_no_more(good: Facts) -> None:
    broken = [replace(op, number=90 + n, began=40.0, ended=42.0) for n, op in enumerate([_failed(good)] * 2)]
    thrown = Fault(kind="strike", target="api", fired_at=41.0, saw="api.write:after:exception")
    elsewhere = replace(thrown, target="relay")
    for struck, left in (([], 2), ([elsewhere], 2), ([thrown], 1), ([thrown, thrown], 0)):
        facts = replace(good, operations=[*good.operations, *broken], faults=struck)
        found = {one.checker.name: one.violations for one in judge(facts, CHECKERS)}
        assert len(found["answers-expected"]) == left


def test_an_exception_in_what_requests_share_explains_those_of_one_replica(good: Facts) -> None:
    """On a busy machine several payments share the statement that is struck: each of them gets a 500."""
    creates = [
        replace(_failed(good), number=90 + number, began=40.0, ended=42.0, api=api, method="POST", path=path)
        for number, (api, path) in enumerate(
            [("a", "/v1/payments"), ("a", "/v1/payments"), ("b", "/v1/payments"), ("a", "/v1/payments/p-1/cancel")]
        )
    ]
    struck = Fault(kind="strike", target="api", fired_at=41.0, saw="payments.accept:before:exception")
    facts = replace(good, operations=[*good.operations, *creates], faults=[struck])
    found = {one.checker.name: one.violations for one in judge(facts, CHECKERS)}
    assert len(found["answers-expected"]) == 2


def _failed(good: Facts) -> Operation:
    return replace(good.operations[0], outcome="info", status=500, body='{"code":"internal-error"}')
