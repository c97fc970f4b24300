"""Was anybody charged twice, wrongly, or for nothing? And do all the books say the same?

The provider's journal is grouped by payment, never by idempotency key: a key of its own for
each attempt would hide exactly the double charge that is looked for.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from paidonce.chaos.checkers.verdict import Examined, Violation
from paidonce.chaos.facts import Charge, Facts, LedgerLine, PaymentRow, ProviderRefund

Thing = TypeVar("Thing")

#: the account that a capture debits and a refund credits (docs/design.md, "Effects")
RECEIVABLE = "provider_receivable"


def grouped(things: Iterable[Thing], key: Callable[[Thing], Any]) -> Mapping[Any, list[Thing]]:
    """Return the things by key, in their order."""
    groups: dict[Any, list[Thing]] = defaultdict(list)
    for thing in things:
        groups[key(thing)].append(thing)
    return groups


def charge_lines(charges: Sequence[Charge]) -> tuple[str, ...]:
    """Return a line of evidence for each charge."""
    return tuple(
        f"provider charge {c.id} ({c.status}) {c.amount} {c.currency}, key {c.key}, payment {c.reference}"
        for c in charges
    )


def _refunds(refunds: Sequence[ProviderRefund]) -> tuple[str, ...]:
    return tuple(
        f"provider refund {r.id} ({r.status}) {r.amount}, key {r.key}, refund {r.reference}, charge {r.charge}"
        for r in refunds
    )


def one_capture(facts: Facts) -> Examined:
    """At most one capture for each payment, and for each thing that a client wanted to pay once."""
    wanted = {payment.id: (payment.tenant, payment.subject or payment.id) for payment in facts.payments}
    captures = [charge for charge in facts.charges if charge.status == "captured"]
    by_payment = grouped(captures, lambda charge: charge.reference)
    by_subject = grouped(captures, lambda charge: wanted.get(charge.reference, charge.reference))
    violations = [
        Violation(f"payment {payment} was charged {len(group)} times", charge_lines(group))
        for payment, group in by_payment.items()
        if len(group) > 1
    ]
    violations += [
        Violation(f"the client paid {subject} once and was charged {len(group)} times", charge_lines(group))
        for subject, group in by_subject.items()
        if len({charge.reference for charge in group}) > 1
    ]
    return len(captures), violations


def right_amount(facts: Facts) -> Examined:
    """Every charge has the amount and currency that the client sent with its first request."""
    asked = {(op.tenant, op.subject): op for op in reversed(facts.operations) if op.kind == "create"}
    rows = {payment.id: payment for payment in facts.payments}
    violations, examined = [], 0
    for charge in facts.charges:
        row = rows.get(charge.reference)
        op = asked.get((row.tenant, row.subject or "")) if row else None
        if op is None:
            continue
        examined += 1
        if (charge.amount, charge.currency) != (op.request["amount"], op.request["currency"]):
            what = f"the client asked for {op.request['amount']} {op.request['currency']}, not {charge.amount}"
            violations.append(Violation(f"{what} {charge.currency}", (op.told(), *charge_lines([charge]))))
    return examined, violations


def charge_asked_for(facts: Facts) -> Examined:
    """Behind every charge stands a payment, and behind every payment a client's request."""
    asked = {(op.tenant, op.subject) for op in facts.operations if op.kind == "create"}
    rows = {payment.id: payment for payment in facts.payments}
    violations = [
        Violation(f"charge {charge.id} is for payment {charge.reference}, which does not exist", charge_lines([charge]))
        for charge in facts.charges
        if charge.reference not in rows
    ]
    violations += [
        Violation(f"nobody asked for payment {row.id}", (f"payment {row.id} of {row.tenant}, {row.subject}",))
        for row in facts.payments
        if (row.tenant, row.subject) not in asked
    ]
    return len(facts.charges), violations


def cancel_honoured(facts: Facts) -> Examined:
    """A canceled payment was never sent to the provider, and one whose cancel was confirmed is canceled."""
    charged = grouped(facts.charges, lambda charge: charge.reference)
    rows = {payment.id: payment for payment in facts.payments}
    confirmed = [op for op in facts.operations if op.kind == "cancel" and op.outcome == "ok"]
    violations = [
        Violation(f"payment {row.id} is canceled and was charged", charge_lines(charged[row.id]))
        for row in facts.payments
        if row.status == "canceled" and row.id in charged
    ]
    for op in confirmed:
        row = rows.get(str(op.document.get("id")))
        if row is None or row.status != "canceled":
            status = row.status if row else "missing"
            violations.append(Violation(f"a cancel was confirmed, yet the payment is {status}", (op.told(),)))
    return sum(row.status == "canceled" for row in facts.payments), violations


def books_agree(facts: Facts) -> Examined:
    """A payment's status, its ledger lines and the provider's journal say the same."""
    charges = grouped(facts.charges, lambda charge: charge.reference)
    refunds = grouped(facts.refunds, lambda refund: refund.payment_id)
    at_provider = grouped(facts.provider_refunds, lambda refund: refund.reference)
    ledger = grouped(facts.ledger, lambda line: line.payment_id)
    violations, open_charges, open_refunds = [], facts.left_unknown("charge"), facts.left_unknown("refund")
    for row in facts.payments:
        # What nobody knows yet is in no book, and at the provider or not.
        known = [] if row.id in open_charges else charges[row.id]
        captured = [charge for charge in known if charge.status == "captured"]
        own = [refund for refund in refunds[row.id] if refund.id not in open_refunds]
        refunded = [r for one in own for r in at_provider[one.id] if r.status == "succeeded"]
        said = {
            "captured": row.amount if row.status in {"captured", "refunded"} else 0,
            "refunded": row.amount_refunded,
        }
        journal = {"captured": sum(c.amount for c in captured), "refunded": sum(r.amount for r in refunded)}
        booked = _booked(ledger[row.id])
        if not said == journal == booked or (row.status == "refunded") != (row.amount_refunded == row.amount):
            lines = (f"payment {row.id} is {row.status}: {said}", f"provider: {journal}", f"ledger: {booked}")
            violations.append(Violation(f"the books disagree on payment {row.id}", lines))
    return len(facts.payments), violations + _charge_ids(facts.payments, charges)


def _booked(lines: Sequence[LedgerLine]) -> dict[str, int]:
    receivable = [line.amount for line in lines if line.account == RECEIVABLE]
    return {"captured": sum(a for a in receivable if a > 0), "refunded": -sum(a for a in receivable if a < 0)}


def _charge_ids(payments: Sequence[PaymentRow], charges: Mapping[str, Sequence[Charge]]) -> list[Violation]:
    return [
        Violation(
            f"payment {row.id} names charge {row.provider_charge_id}, which the provider does not have for it",
            charge_lines(charges[row.id]),
        )
        for row in payments
        if row.provider_charge_id and row.provider_charge_id not in {charge.id for charge in charges[row.id]}
    ]


def refunds_bounded(facts: Facts) -> Examined:
    """Never more refunded than captured, one provider refund for each refund, one refund for each wish."""
    captured = {charge.id: charge for charge in facts.charges if charge.status == "captured"}
    succeeded = [refund for refund in facts.provider_refunds if refund.status == "succeeded"]
    known = {refund.id for refund in facts.refunds}
    violations = [
        Violation(f"refund {reference} went out {len(group)} times", _refunds(group))
        for reference, group in grouped(facts.provider_refunds, lambda refund: refund.reference).items()
        if len(group) > 1
    ]
    violations += [
        Violation(f"refund {refund.reference} at the provider is none of ours", _refunds([refund]))
        for refund in facts.provider_refunds
        if refund.reference not in known
    ]
    for charge, group in grouped(succeeded, lambda refund: refund.charge).items():
        limit = captured[charge].amount if charge in captured else 0
        if sum(refund.amount for refund in group) > limit:
            violations.append(Violation(f"more than {limit} was refunded of charge {charge}", _refunds(group)))
    for (tenant, subject), rows in grouped(facts.refunds, lambda refund: (refund.tenant, refund.subject)).items():
        if len(rows) > 1:
            lines = tuple(f"refund {row.id} ({row.status}) {row.amount} of payment {row.payment_id}" for row in rows)
            violations.append(Violation(f"{tenant} wanted refund {subject} once and got {len(rows)}", lines))
    return len(facts.provider_refunds), violations


def ledger_balances(facts: Facts) -> Examined:
    """The ledger sums to zero by transaction, tenant and currency, and equals captures minus refunds."""
    violations = [
        Violation(
            f"the ledger of {group} does not sum to zero",
            tuple(f"{line.kind} {line.account} {line.amount} {line.currency}" for line in lines),
        )
        for key in ("transaction_id", "tenant", "currency")
        for group, lines in grouped(facts.ledger, lambda line, key=key: getattr(line, key)).items()  # type: ignore[misc]  # mypy infers no lambda with a default
        if sum(line.amount for line in lines)
    ]
    moved, booked = provider_totals(facts), ledger_totals(facts)
    violations += [
        Violation(f"{tenant} {currency}: provider moved {moved.get(group, 0)}, ledger says {booked.get(group, 0)}")
        for group in sorted(moved.keys() | booked.keys())
        for tenant, currency in [group]
        if moved.get(group, 0) != booked.get(group, 0)
    ]
    return len({line.transaction_id for line in facts.ledger}), violations


def booked_once(facts: Facts) -> Examined:
    """Each capture, and each refund, is in the ledger once."""
    succeeded = grouped((row for row in facts.refunds if row.status == "succeeded"), lambda row: row.payment_id)
    lines = [line for line in facts.ledger if line.account == RECEIVABLE]
    groups = grouped(lines, lambda line: (line.payment_id, line.kind))
    return len(lines), [
        Violation(
            f"the {kind} of payment {payment} was booked {len(group)} times",
            tuple(f"ledger transaction {line.transaction_id}: {line.amount} {line.currency}" for line in group),
        )
        for (payment, kind), group in groups.items()
        if len(group) > (1 if kind == "capture" else len(succeeded[payment]))
    ]


def provider_totals(facts: Facts) -> dict[tuple[str, str], int]:
    """Return captures minus refunds by (tenant, currency), as the provider's journal has them.

    Without those of which we cannot know, where the plan expects such.
    """
    open_charges, open_refunds = facts.left_unknown("charge"), facts.left_unknown("refund")
    tenants = {payment.id: payment.tenant for payment in facts.payments}
    totals: dict[tuple[str, str], int] = defaultdict(int)
    groups = {}
    for charge in facts.charges:
        groups[charge.id] = (tenants.get(charge.reference, "nobody"), charge.currency)
        if charge.status == "captured" and charge.reference not in open_charges:
            totals[groups[charge.id]] += charge.amount
    for refund in facts.provider_refunds:
        if refund.status == "succeeded" and refund.reference not in open_refunds:
            totals[groups.get(refund.charge, ("nobody", "???"))] -= refund.amount
    return dict(totals)


def ledger_totals(facts: Facts) -> dict[tuple[str, str], int]:
    """Return what the provider owes us by (tenant, currency), as the ledger has it."""
    totals: dict[tuple[str, str], int] = defaultdict(int)
    for line in facts.ledger:
        if line.account == RECEIVABLE:
            totals[line.tenant, line.currency] += line.amount
    return dict(totals)
