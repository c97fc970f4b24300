"""Which payment does a piece of evidence speak of? Payments, refunds, events, charges and keys lead to it by name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from paidonce.chaos.facts import Facts

#: What a name may look like in a line of evidence: an id, a key, or the number of a request, `#12`.
NAME = re.compile(r"#?[\w-]+")

Named = TypeVar("Named")


def names(facts: Facts) -> dict[str, str]:
    """Return everything in the facts that has a name -> the id of its payment."""
    found: dict[str, str] = {}
    refunds = {refund.id: refund.payment_id for refund in facts.refunds}
    found |= {charge.reference: charge.reference for charge in facts.charges}
    found |= {payment.id: payment.id for payment in facts.payments} | refunds
    found |= {event.id: event.key for event in facts.events}
    found |= {record.message_id: record.key for record in facts.topic if record.message_id not in found}
    found |= {charge.id: charge.reference for charge in facts.charges}
    found |= {refund.id: refunds[refund.reference] for refund in facts.provider_refunds if refund.reference in refunds}
    found |= {line.transaction_id: line.payment_id for line in facts.ledger}
    wanted = {(row.tenant, row.subject): row.id for row in facts.payments if row.subject}
    wanted |= {(row.tenant, row.subject): row.payment_id for row in facts.refunds if row.subject}
    for op in facts.operations:
        payment = wanted.get((op.tenant, op.subject))
        if payment:
            found |= {f"#{op.number}": payment, op.subject: payment}
            found |= {op.key: payment} if op.key else {}
    return found


def named_in(lines: Iterable[str]) -> Iterator[str]:
    """Yield what may be a name, in the order of the lines."""
    for line in lines:
        yield from NAME.findall(line)


def payment_of(lines: Iterable[str], known: Mapping[str, str]) -> str | None:
    """Return the payment that the lines speak of; None when they name nothing that is known."""
    return next((known[name] for name in named_in(lines) if name in known), None)
