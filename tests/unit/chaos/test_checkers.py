"""Does each checker find the breach of its promise, and nothing in a run without one?"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from paidonce.chaos.checkers import CHECKERS
from paidonce.chaos.checkers.verdict import judge, smallest, verdict
from paidonce.chaos.facts import Facts


def broken(facts: Facts) -> set[str]:
    return {finding.checker.name for finding in judge(facts, CHECKERS) if finding.violations}


def changed(items: Any, index: int, **values: Any) -> list[Any]:
    """Return the items with one changed."""
    return [replace(item, **values) if number == index else item for number, item in enumerate(items)]


def more(items: Any, index: int, **values: Any) -> list[Any]:
    """Return the items and a changed copy of one."""
    return [*items, replace(items[index], **values)]


def test_a_good_run_breaks_nothing_and_every_checker_looked_at_something(good: Facts) -> None:
    findings = judge(good, CHECKERS)
    assert [finding.violations for finding in findings] == [()] * len(CHECKERS)
    assert all(finding.examined for finding in findings)
    assert verdict(findings, good) == ("valid", [])


def test_an_event_that_was_published_again_is_on_the_topic_as_often_and_out_of_order(good: Facts) -> None:
    again = replace(good, events=more(good.events, 0), topic=more(good.topic, 0, offset=9))
    assert broken(again) == set()
    assert broken(replace(again, topic=more(again.topic, 0, offset=10))) == {"published-once"}


Break = Callable[[Facts], Facts]

BREACHES: list[tuple[str, str, Break]] = [
    (
        "one-capture",
        "a second charge under a key of its own",
        lambda f: replace(f, charges=more(f.charges, 0, id="ch-2", key="charge-p-1-attempt-2")),
    ),
    (
        "one-capture",
        "two payments for one wish, each charged",
        lambda f: replace(
            f,
            payments=more(f.payments, 0, id="p-9", provider_charge_id="ch-9"),
            charges=more(f.charges, 0, id="ch-9", reference="p-9"),
        ),
    ),
    ("right-amount", "another amount", lambda f: replace(f, charges=changed(f.charges, 0, amount=901))),
    ("right-amount", "another currency", lambda f: replace(f, charges=changed(f.charges, 0, currency="USD"))),
    ("asked-for", "a charge for no payment", lambda f: replace(f, charges=more(f.charges, 0, reference="p-9"))),
    (
        "asked-for",
        "a payment that no client sent",
        lambda f: replace(f, payments=more(f.payments, 1, id="p-9", subject="s-9")),
    ),
    (
        "asked-for",
        "a payment of the other tenant",
        lambda f: replace(f, payments=changed(f.payments, 0, tenant="globex")),
    ),
    ("one-payment-a-key", "two payments for one key", lambda f: replace(f, payments=more(f.payments, 0, id="p-9"))),
    (
        "refunds-bounded",
        "one refund sent twice",
        lambda f: replace(f, provider_refunds=more(f.provider_refunds, 0, id="re-2", key="other")),
    ),
    (
        "refunds-bounded",
        "more refunded than captured",
        lambda f: replace(f, provider_refunds=changed(f.provider_refunds, 0, amount=901)),
    ),
    (
        "refunds-bounded",
        "a refund of a declined charge",
        lambda f: replace(f, charges=changed(f.charges, 0, status="declined")),
    ),
    ("refunds-bounded", "two refunds for one wish", lambda f: replace(f, refunds=more(f.refunds, 0, id="r-2"))),
    ("refunds-bounded", "a refund of nobody's", lambda f: replace(f, refunds=[])),
    (
        "cancel-honoured",
        "canceled and charged",
        lambda f: replace(f, charges=more(f.charges, 0, id="ch-2", reference="p-2", status="declined")),
    ),
    (
        "cancel-honoured",
        "confirmed and not canceled",
        lambda f: replace(f, payments=changed(f.payments, 1, status="declined")),
    ),
    (
        "acknowledged",
        "an acknowledged payment is gone",
        lambda f: replace(f, payments=[row for row in f.payments if row.id != "p-1"]),
    ),
    ("acknowledged", "an acknowledged refund is gone", lambda f: replace(f, refunds=[])),
    ("acknowledged", "not final", lambda f: replace(f, payments=changed(f.payments, 0, status="charging"))),
    ("acknowledged", "refund not final", lambda f: replace(f, refunds=changed(f.refunds, 0, status="refunding"))),
    ("books-agree", "captured and not charged", lambda f: replace(f, charges=[])),
    ("books-agree", "captured and not booked", lambda f: replace(f, ledger=f.ledger[2:])),
    ("books-agree", "booked twice", lambda f: replace(f, ledger=[*f.ledger, *f.ledger[:2]])),
    (
        "books-agree",
        "declined and charged",
        lambda f: replace(f, payments=changed(f.payments, 0, status="declined", amount_refunded=0)),
    ),
    (
        "books-agree",
        "another charge's id",
        lambda f: replace(f, payments=changed(f.payments, 0, provider_charge_id="ch-9")),
    ),
    (
        "books-agree",
        "refunded in part and called refunded",
        lambda f: replace(f, payments=changed(f.payments, 0, status="refunded")),
    ),
    ("ledger-balances", "a lost line", lambda f: replace(f, ledger=f.ledger[:-1])),
    (
        "ledger-balances",
        "a line of another currency",
        lambda f: replace(f, ledger=changed(f.ledger, 0, currency="USD")),
    ),
    ("ledger-balances", "a refund not booked", lambda f: replace(f, ledger=f.ledger[:2])),
    ("same-answer", "other bytes", lambda f: replace(f, operations=changed(f.operations, 1, sha256="other"))),
    ("same-answer", "another status", lambda f: replace(f, operations=changed(f.operations, 1, status=200))),
    ("same-answer", "done twice", lambda f: replace(f, operations=changed(f.operations, 1, headers={}))),
    (
        "mismatch-refused",
        "another payload was taken",
        lambda f: replace(f, operations=changed(f.operations, 2, outcome="ok", status=201)),
    ),
    (
        "mismatch-refused",
        "another refusal",
        lambda f: replace(f, operations=changed(f.operations, 2, body='{"code": "bad-request"}', status=400)),
    ),
    (
        "answers-expected",
        "a 500",
        lambda f: replace(f, operations=changed(f.operations, 7, status=500, body="{}")),
    ),
    (
        "answers-expected",
        "a stray 422",
        lambda f: replace(f, operations=changed(f.operations, 7, status=422, outcome="fail")),
    ),
    (
        "reads-agree",
        "the API showed another end",
        lambda f: replace(f, operations=changed(f.operations, 5, body='{"id": "p-1", "status": "declined"}')),
    ),
    ("published-once", "an event is lost", lambda f: replace(f, topic=f.topic[1:])),
    ("published-once", "an event is there twice", lambda f: replace(f, topic=more(f.topic, 3, offset=9))),
    ("published-once", "an event of nobody's", lambda f: replace(f, topic=more(f.topic, 0, message_id="e-9"))),
    ("in-order", "out of order", lambda f: replace(f, topic=changed(f.topic, 0, offset=9))),
    ("in-order", "in two partitions", lambda f: replace(f, topic=changed(f.topic, 0, partition=5))),
    ("delivered", "never delivered", lambda f: replace(f, deliveries=f.deliveries[1:])),
    ("delivered", "never taken", lambda f: replace(f, deliveries=changed(f.deliveries, 0, status=500))),
    ("delivered", "with another body", lambda f: replace(f, deliveries=more(f.deliveries, 0, sha256="other"))),
    ("delivered", "to the other tenant", lambda f: replace(f, deliveries=more(f.deliveries, 0, tenant="globex"))),
    ("delivered", "wrongly signed", lambda f: replace(f, deliveries=more(f.deliveries, 0, verified=False))),
    ("delivered", "under another id", lambda f: replace(f, deliveries=more(f.deliveries, 0, webhook_id="e-9"))),
    (
        "ended-once",
        "captured by the reply and by the webhook",
        lambda f: replace(f, events=more(f.events, 2, id="e-9")),
    ),
    (
        "ended-once",
        "canceled and captured",
        lambda f: replace(f, events=more(f.events, 3, id="e-9", type="payment.captured")),
    ),
    ("booked-once", "a capture again", lambda f: replace(f, ledger=[*f.ledger, *more(f.ledger, 0)[-1:]])),
    ("booked-once", "a refund again", lambda f: replace(f, ledger=[*f.ledger, *more(f.ledger, 2)[-1:]])),
    (
        "tenants-apart",
        "the other tenant's payment",
        lambda f: replace(f, operations=changed(f.operations, 3, body='{"id": "p-1"}')),
    ),
    (
        "tenants-apart",
        "the other tenant's refund",
        lambda f: replace(f, operations=changed(f.operations, 3, body='{"id": "r-1"}')),
    ),
    ("announced", "an accepted payment without an event", lambda f: replace(f, events=f.events[1:])),
    ("handled", "skipped by a consumer", lambda f: replace(f, unhandled=["charges e-1 payment.accepted"])),
    ("windows-follow", "a gap in the numbers", lambda f: replace(f, windows=changed(f.windows, 0, number=0))),
    (
        "windows-follow",
        "another window under a number that was used",
        lambda f: replace(f, windows=changed(f.windows, 0, s2="1:7:")),
    ),
    ("windows-follow", "a hole in a span that was cut", lambda f: replace(f, windows=changed(f.windows, 2, lo=8))),
    ("windows-follow", "half of another span", lambda f: replace(f, windows=changed(f.windows, 2, s2="5:8:"))),
    ("windows-follow", "an owner of long ago", lambda f: replace(f, windows=changed(f.windows, 0, epoch=2))),
    (
        "results-fenced",
        "written by the worker that lost it",
        lambda f: replace(f, effect_history=changed(f.effect_history, 4, token="one")),
    ),
    (
        "results-fenced",
        "written over the newer result",
        lambda f: replace(f, effect_history=more(f.effect_history, 4, token="one")),
    ),
    ("published-once", "published again, and not sent", lambda f: replace(f, events=more(f.events, 0))),
    ("prompt", "open long after the fault", lambda f: replace(f, waits=changed(f.waits, 0, ended=40.0))),
    ("nothing-unknown", "a call unknown", lambda f: replace(f, effects=changed(f.effects, 0, state="unknown"))),
    (
        "nothing-unknown",
        "a webhook given up",
        lambda f: replace(f, effects=changed(f.effects, 0, kind="webhook", state="refused")),
    ),
    ("nothing-unknown", "a dead letter", lambda f: replace(f, dead_letters=["ledger e-1 broken"])),
    ("nothing-unknown", "a message put aside", lambda f: replace(f, parked=["ledger e-1 later"])),
]


@pytest.mark.parametrize(("name", "what", "breach"), BREACHES, ids=[f"{name}: {what}" for name, what, _ in BREACHES])
def test_a_breach_is_found_by_its_checker(good: Facts, name: str, what: str, breach: Break) -> None:
    facts = breach(good)
    assert name in broken(facts)
    assert verdict(judge(facts, CHECKERS), facts)[0] == "invalid"


def test_every_checker_has_a_breach_that_it_finds() -> None:
    assert {name for name, _, _ in BREACHES} == {checker.name for checker in CHECKERS}


def test_what_nobody_knows_breaks_nothing(good: Facts) -> None:
    lost = [replace(op, outcome="info", status=None, body="", sha256="") for op in good.operations[:2]]
    assert broken(replace(good, operations=[*lost, *good.operations[2:]])) == set()


def test_a_duplicate_that_met_the_first_still_running_breaks_nothing(good: Facts) -> None:
    running = changed(good.operations, 7, outcome="fail", status=409, body='{"code": "request-in-progress"}')
    assert broken(replace(good, operations=running)) == set()


def test_a_declined_payment_that_the_provider_never_took_breaks_nothing(good: Facts) -> None:
    rows = more(good.payments, 1, id="p-3", subject="s-1", tenant="acme", status="declined")
    assert broken(replace(good, payments=rows[1:], charges=[], ledger=[], provider_refunds=[], refunds=[])) <= {
        "acknowledged",
        "announced",
        "cancel-honoured",
        "reads-agree",
    }


def test_a_kill_that_did_not_fire_makes_the_run_unknown(good: Facts) -> None:
    facts = replace(good, faults=changed(good.faults, 0, fired_at=None, saw="no such process"))
    assert verdict(judge(facts, CHECKERS), facts) == ("unknown", ["fault 1, kill relay, did not fire: no such process"])


@pytest.mark.parametrize("fired_at", [-1.0, 99.0])
def test_a_kill_outside_the_load_makes_the_run_unknown(good: Facts, fired_at: float) -> None:
    facts = replace(good, faults=changed(good.faults, 0, fired_at=fired_at, healed_at=fired_at))
    assert verdict(judge(facts, CHECKERS), facts)[0] == "unknown"


def test_a_target_that_was_not_seen_again_makes_the_run_unknown(good: Facts) -> None:
    facts = replace(good, faults=changed(good.faults, 0, back_after_s=None))
    said = ["after fault 1, kill relay, it was not seen to work again"]
    assert verdict(judge(facts, CHECKERS), facts) == ("unknown", said)


def test_a_run_with_nothing_to_look_at_is_unknown() -> None:
    empty = Facts()
    assert verdict(judge(empty, CHECKERS), empty)[0] == "unknown"


def test_the_smallest_evidence_is_the_one_with_the_fewest_lines(good: Facts) -> None:
    facts = replace(good, charges=[*good.charges, *(replace(good.charges[0], id=f"ch-{n}") for n in (2, 3))])
    facts = replace(facts, charges=[*facts.charges, *(replace(c, reference="p-2") for c in facts.charges[:2])])
    found = {checker.name: violation for checker, violation in smallest(judge(facts, CHECKERS))}
    assert found["one-capture"].what == "payment p-2 was charged 2 times"
    assert len(found["one-capture"].evidence) == 2
