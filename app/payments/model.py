"""What is a payment, what is a refund, and which changes may they make? Pure: no table, no clock.

The machines are drawn in docs/state-machines.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

PaymentStatus = Literal["pending", "charging", "captured", "declined", "canceled", "refunded"]
RefundStatus = Literal["pending", "refunding", "succeeded", "failed"]

#: from -> the states that may follow it
PAYMENT_CHANGES: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    "pending": frozenset({"charging", "canceled"}),
    "charging": frozenset({"captured", "declined"}),
    "captured": frozenset({"refunded"}),
    "declined": frozenset(),
    "canceled": frozenset(),
    "refunded": frozenset(),
}
REFUND_CHANGES: Mapping[RefundStatus, frozenset[RefundStatus]] = {
    "pending": frozenset({"refunding"}),
    "refunding": frozenset({"succeeded", "failed"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One payment; amounts are integer minor units of `currency`."""

    id: UUID
    tenant: str
    status: PaymentStatus = "pending"
    amount: int
    #: ISO 4217, three capital letters
    currency: str
    payment_method: str
    customer_id: str | None = None
    reference: str | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: what succeeded refunds add up to
    amount_refunded: int = 0
    provider_charge_id: str | None = None
    decline_code: str | None = None
    #: counts the changes; the ETag, and the `sequence` of its events
    version: int = 1
    created_at: datetime
    updated_at: datetime

    def may_become(self, status: PaymentStatus) -> bool:
        """Tell whether the machine has this change."""
        return status in PAYMENT_CHANGES[self.status]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """One refund of part or all of a captured payment; `amount` in the payment's minor units."""

    id: UUID
    payment_id: UUID
    tenant: str
    status: RefundStatus = "pending"
    amount: int
    reason: str | None = None
    provider_refund_id: str | None = None
    failure_code: str | None = None
    created_at: datetime
    updated_at: datetime

    def may_become(self, status: RefundStatus) -> bool:
        """Tell whether the machine has this change."""
        return status in REFUND_CHANGES[self.status]


def payment_document(payment: Payment) -> dict[str, Any]:
    """Return the payment as the API, the events and the webhooks show it (docs/design.md, "The API").

    Neither the tenant nor the payment method is in it: the first is the caller's own, the second is a secret.
    """
    return {
        "id": str(payment.id),
        "object": "payment",
        "status": payment.status,
        "amount": payment.amount,
        "currency": payment.currency,
        "amount_refunded": payment.amount_refunded,
        "customer_id": payment.customer_id,
        "reference": payment.reference,
        "description": payment.description,
        "metadata": dict(payment.metadata),
        "decline_code": payment.decline_code,
        "created_at": payment.created_at,
        "updated_at": payment.updated_at,
    }


def refund_document(refund: Refund) -> dict[str, Any]:
    """Return the refund as the API, the events and the webhooks show it."""
    return {
        "id": str(refund.id),
        "object": "refund",
        "payment_id": str(refund.payment_id),
        "status": refund.status,
        "amount": refund.amount,
        "reason": refund.reason,
        "failure_code": refund.failure_code,
        "created_at": refund.created_at,
        "updated_at": refund.updated_at,
    }
