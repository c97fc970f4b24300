"""What can be promised of a pipeline of which only its clients and its provider are seen? What both of them know.

The rows of payments that these read were found out, not read in a table (chaos/yours/links.py).
"""

from paidonce.chaos.checkers.money import charge_lines, grouped
from paidonce.chaos.checkers.verdict import Examined, Violation
from paidonce.chaos.facts import Facts


def charge_wanted(facts: Facts) -> Examined:
    """Behind every charge stands a client's wish that the pipeline did not refuse."""
    subjects = {row.id: row.subject for row in facts.payments}
    asked = grouped((op for op in facts.operations if op.kind in {"create", "replay"}), lambda op: op.subject)
    violations = [
        Violation(f"nobody asked for charge {charge.id} of {charge.amount} {charge.currency}", charge_lines([charge]))
        for charge in facts.charges
        if charge.reference not in subjects
    ]
    for charge in facts.charges:
        attempts = asked[subjects.get(charge.reference)]
        if attempts and charge.status == "captured" and all(op.outcome == "fail" for op in attempts):
            told = (attempts[-1].told(), *charge_lines([charge]))
            violations.append(Violation(f"{attempts[-1].subject} was refused each time, and charged", told))
    return len(facts.charges), violations


def nothing_lost(facts: Facts) -> Examined:
    """Every payment that a client was told is accepted was charged or declined in the end: once there is an end."""
    if not facts.at_rest:
        return 0, []
    charged = {charge.reference for charge in facts.charges}
    reached = {row.subject for row in facts.payments if row.id in charged}
    accepted = {op.subject: op for op in reversed(facts.operations) if op.number in facts.named}
    return len(accepted), [
        Violation(
            f"payment {facts.named[op.number]} was accepted, and never charged or declined",
            (op.told(), f"the provider was never asked for {op.request['amount']} {op.request['currency']}, its alone"),
        )
        for subject, op in sorted(accepted.items())
        if subject not in reached
    ]


def same_key_same_payment(facts: Facts) -> Examined:
    """Every success under one key speaks of one payment, whatever else it says of it."""
    told = grouped((op for op in facts.operations if op.number in facts.named), lambda op: op.key)
    return sum(len(ops) > 1 for ops in told.values()), [
        Violation(
            f"key {key} got {len(names)} payments: {', '.join(sorted(names))}",
            tuple({facts.named[op.number]: op.told() for op in reversed(ops)}.values()),
        )
        for key, ops in told.items()
        for names in [{facts.named[op.number] for op in ops}]
        if len(names) > 1
    ]
