"""What do we need of a payment provider? The port; provider_http.py and stripe_provider.py here are its adapters.

A request is made once, as bytes, and kept: every retry sends the same bytes under the same key
(docs/design.md, "Effects"). The contract is in docs/design.md, "Provider".
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, Field

from paidonce.app.messaging.answers import Answer, Finding
from paidonce.app.payments.model import Payment, Refund

ObjectKind = Literal["charge", "refund"]
#: The provider's own id: it is a key of ours, and an index takes no more than some kilobytes.
ObjectId = Annotated[str, Field(min_length=1, max_length=255)]


class ProviderCharge(BaseModel):
    """A charge as the provider keeps it; `reference` is our payment's id."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: ObjectId
    status: Literal["captured", "declined"]
    amount: int
    currency: str
    reference: str
    decline_code: str | None = None


class ProviderRefund(BaseModel):
    """A refund as the provider keeps it; `reference` is our refund's id."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: ObjectId
    status: Literal["succeeded", "failed"]
    charge: str
    amount: int
    reference: str
    failure_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """What a look-up is for; a provider that finds by reference needs no more of it."""

    #: our payment's or refund's id
    reference: str
    #: the bytes that were sent, or were to be
    request: bytes
    #: between which times, on our database's clock, it was sent; None: no attempt that may have sent is known
    since: datetime
    until: datetime | None


class Provider(Protocol):
    """Whoever moves the money."""

    #: how long the provider answers a repeated key with the first result; zero: it ignores keys
    honours_keys_for: timedelta
    #: after which time a request is in `find` if it ever will be; None: the provider does not say
    settles_within: timedelta | None

    async def charge(self, key: str, request: bytes) -> Answer:
        """Send a charge under `key`, once, without any retry of its own."""

    async def refund(self, key: str, request: bytes) -> Answer:
        """Send a refund under `key`, once, without any retry of its own."""

    async def find(self, kind: ObjectKind, sought: Sought) -> Finding:
        """Look up what exists under our reference; change nothing there."""


def charge_request(payment: Payment) -> bytes:
    """Return the bytes of the payment's one charge request."""
    return orjson.dumps(
        {
            "amount": payment.amount,
            "currency": payment.currency,
            "payment_method": payment.payment_method,
            "reference": str(payment.id),
        }
    )


def refund_request(refund: Refund, charge_id: str) -> bytes:
    """Return the bytes of the refund's one request; `charge_id` is the provider's."""
    return orjson.dumps({"charge": charge_id, "amount": refund.amount, "reference": str(refund.id)})


def provider_key(kind: ObjectKind, subject: str) -> str:
    """Return the provider's idempotency key for a payment's charge or for a refund."""
    # S12: of the payment or refund alone, never of attempt, message or consumer.
    return f"{kind}-{subject}"
