"""Which charge is for which payment? The answers name payments; where none came, the amount tells: each has its own.

Out of this come the rows that the checkers and the page read, in the place of a table that we cannot see.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paidonce.chaos.facts import Charge, PaymentRow
from paidonce.chaos.history import Operation

#: The one tenant of somebody else's pipeline.
TENANT = "yours"
#: The state of a payment of which the provider knows nothing.
NOT_CHARGED = "not charged"


def names(operations: Sequence[Operation], paid_as: Callable[[Mapping[str, Any]], str | None]) -> dict[int, str]:
    """Return the number of each answer that accepted a payment -> what it calls the payment."""
    found = {op.number: paid_as(op.document) for op in operations if op.outcome == "ok"}
    return {number: str(name) for number, name in found.items() if name is not None}


def linked(operations: Sequence[Operation], named: Mapping[int, str], charges: Sequence[Charge]) -> list[PaymentRow]:
    """Return a row for each payment that an answer named or that was charged under a name of its own.

    A charge that neither its reference nor its amount leads to somebody's wish has none.
    """
    wishes = {op.subject: op for op in operations if op.kind == "create"}
    by_money = {(op.request["amount"], op.request["currency"]): subject for subject, op in wishes.items()}
    subjects = {named[op.number]: op.subject for op in operations if op.number in named}
    for charge in charges:
        subject = by_money.get((charge.amount, charge.currency))
        if charge.reference not in subjects and subject is not None:
            subjects[charge.reference] = subject
    return [_row(name, subject, wishes[subject], charges) for name, subject in subjects.items()]


def _row(name: str, subject: str, wish: Operation, charges: Sequence[Charge]) -> PaymentRow:
    states = {charge.status for charge in charges if charge.reference == name}
    return PaymentRow(
        id=name,
        tenant=TENANT,
        subject=subject,
        status="captured" if "captured" in states else next(iter(states), NOT_CHARGED),
        amount=wish.request["amount"],
        currency=wish.request["currency"],
        amount_refunded=0,
        provider_charge_id=None,
    )
