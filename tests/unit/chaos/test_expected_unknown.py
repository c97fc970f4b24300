"""May an effect stay unknown? Only where the plan's provider leaves no other way; anywhere else it is a violation."""

from dataclasses import replace
from typing import Any

from paidonce.chaos.checkers import CHECKERS
from paidonce.chaos.checkers.verdict import judge, verdict
from paidonce.chaos.facts import Charge, EffectRow, Facts, PaymentRow, ProviderRefund, RefundRow

MONEY: dict[str, Any] = {"amount": 900, "currency": "EUR"}


def with_open_charge(good: Facts, *, charged: bool) -> Facts:
    """The facts with a third payment of which nobody knows whether it was charged."""
    subject = replace(
        next(op for op in good.operations if op.kind == "create"), number=20, subject="s-3", key="pay-s-3"
    )
    subject = replace(subject, body='{"id":"p-3","status":"pending"}', sha256="p-3")
    row = PaymentRow(
        id="p-3",
        tenant="acme",
        subject="s-3",
        status="charging",
        amount_refunded=0,
        provider_charge_id=None,
        **MONEY,
    )
    charge = Charge(id="ch-3", key="charge-p-3", reference="p-3", status="captured", **MONEY)
    effect = EffectRow(kind="charge", subject="p-3", tenant="acme", state="unknown", attempts=4)
    event = replace(good.events[0], id="e-5", key="p-3")
    record = replace(good.topic[0], message_id="e-5", key="p-3", offset=1 + max(r.offset for r in good.topic))
    return replace(
        good,
        operations=[*good.operations, subject],
        events=[*good.events, event],
        topic=[*good.topic, record],
        deliveries=[*good.deliveries, replace(good.deliveries[0], webhook_id="e-5")],
        payments=[*good.payments, row],
        charges=[*good.charges, *([charge] if charged else [])],
        effects=[*good.effects, effect],
    )


def broken(facts: Facts) -> set[str]:
    return {finding.checker.name for finding in judge(facts, CHECKERS) if finding.violations}


def test_an_unknown_charge_is_counted_where_it_is_expected_whether_or_not_it_happened(good: Facts) -> None:
    for charged in (False, True):
        facts = replace(with_open_charge(good, charged=charged), expected_unknown=frozenset({"charge"}))
        assert broken(facts) == set()
        assert facts.left_unknown("charge") == {"p-3"}
        assert verdict(judge(facts, CHECKERS), facts) == ("valid", [])


def test_anywhere_else_it_is_a_violation(good: Facts) -> None:
    facts = with_open_charge(good, charged=True)
    assert {"nothing-unknown", "acknowledged", "books-agree", "ledger-balances"} <= broken(facts)
    assert {"nothing-unknown", "acknowledged"} <= broken(replace(facts, expected_unknown=frozenset({"refund"})))


def test_an_expected_unknown_charge_is_still_charged_once_and_rightly(good: Facts) -> None:
    facts = replace(with_open_charge(good, charged=True), expected_unknown=frozenset({"charge"}))
    again = replace(facts, charges=[*facts.charges, replace(facts.charges[-1], id="ch-4")])
    assert "one-capture" in broken(again)
    dear = replace(facts, charges=[*facts.charges[:-1], replace(facts.charges[-1], amount=901)])
    assert "right-amount" in broken(dear)


def test_an_unknown_webhook_is_never_expected(good: Facts) -> None:
    webhook = EffectRow(kind="webhook", subject="e-1", tenant="acme", state="unknown", attempts=4)
    facts = replace(good, effects=[*good.effects, webhook], expected_unknown=frozenset({"charge", "refund"}))
    assert broken(facts) == {"nothing-unknown"}


def test_an_unknown_refund_is_counted_where_it_is_expected(good: Facts) -> None:
    refund = RefundRow(id="r-2", payment_id="p-1", tenant="acme", subject="s-1-r1", status="refunding", amount=200)
    given = ProviderRefund(id="re-2", key="refund-r-2", reference="r-2", charge="ch-1", status="succeeded", amount=200)
    effect = EffectRow(kind="refund", subject="r-2", tenant="acme", state="unknown", attempts=4)
    facts = replace(
        good,
        refunds=[*good.refunds, refund],
        provider_refunds=[*good.provider_refunds, given],
        effects=[*good.effects, effect],
    )
    assert "nothing-unknown" in broken(facts)
    assert broken(replace(facts, expected_unknown=frozenset({"refund"}))) == set()


def test_a_run_in_which_the_expected_did_not_happen_shows_nothing(good: Facts) -> None:
    facts = replace(good, expected_unknown=frozenset({"charge"}), expected_answers=frozenset({"429", "reset"}))
    facts = replace(facts, provider_answers={"201": 3, "429": 1})
    said = ["no charge stayed unknown", "the provider never behaved so: reset"]
    assert verdict(judge(facts, CHECKERS), facts) == ("unknown", said)


def test_a_fault_that_lasts_all_the_time_counts(good: Facts) -> None:
    always = replace(good.faults[0], kind="skew", fired_at=-9.0, healed_at=99.0, back_after_s=0.0)
    facts = replace(good, faults=[always])
    assert verdict(judge(facts, CHECKERS), facts) == ("valid", [])
