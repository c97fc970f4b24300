"""What do Stripe's PaymentIntents and Refunds say in the port's words? Pure: nothing is asked here.

| Stripe's object | ours |
|---|---|
| PaymentIntent `succeeded` | captured |
| PaymentIntent `requires_payment_method` after an attempt that failed | declined, with the issuer's code |
| PaymentIntent `canceled` | declined |
| Refund `succeeded` | succeeded |
| Refund `failed`, `canceled` | failed |
| any other status | not ended: nobody can tell yet |
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from stripe.params import PaymentIntentCreateParams, RefundCreateParams

from paidonce.app.payments.provider import ObjectId, ObjectKind, ProviderCharge, ProviderRefund

#: The metadata's member that bears our payment's or refund's id: one of our own, as others may use the account too.
REFERENCE = "paidonce_reference"

#: Stripe counts these in other units than ISO 4217's minor ones, which ours are: amounts would be off by a hundred.
UNITS_DIFFER = frozenset({"ISK", "MGA", "UGX"})


class _Failure(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    code: str | None = None
    decline_code: str | None = None


class _Intent(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    object: Literal["payment_intent"]
    id: ObjectId
    status: str
    amount: int
    amount_received: int = 0
    currency: str
    metadata: dict[str, str]
    last_payment_error: _Failure | None = None


class _Refund(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    object: Literal["refund"]
    id: ObjectId
    status: str
    amount: int
    payment_intent: ObjectId
    metadata: dict[str, str]
    failure_reason: str | None = None


def charge_parameters(asked: Mapping[str, Any]) -> PaymentIntentCreateParams:
    """Return the PaymentIntent that a charge request asks for: a card, confirmed and captured at once, or declined.

    The same for the same request, always: Stripe compares them with those that it first saw under the key.
    """
    return {
        "amount": asked["amount"],
        "currency": asked["currency"].lower(),
        "payment_method": asked["payment_method"],
        "allowed_payment_method_types": ["card"],
        # With Stripe's own default the capture comes later, and may fail after the intent has succeeded.
        "capture_method": "automatic",
        "confirm": True,
        # Nobody is there to confirm anything: an issuer who asks for that declines.
        "error_on_requires_action": True,
        "metadata": {REFERENCE: asked["reference"]},
    }


def refund_parameters(asked: Mapping[str, Any]) -> RefundCreateParams:
    """Return the Refund that a refund request asks for; always the same for the same request."""
    return {
        "payment_intent": asked["charge"],
        "amount": asked["amount"],
        "metadata": {REFERENCE: asked["reference"]},
    }


def reference(document: Mapping[str, Any]) -> str | None:
    """Return our id in an object of theirs; None: the object is not ours."""
    metadata = document.get("metadata")
    found = metadata.get(REFERENCE) if isinstance(metadata, Mapping) else None
    return found if isinstance(found, str) else None


def status(document: Mapping[str, Any]) -> str:
    """Return the object's status, for messages."""
    return f"{document.get('object')} {document.get('status')}"


def ended(kind: ObjectKind, document: Mapping[str, Any]) -> ProviderCharge | ProviderRefund | None:
    """Return what the object says; None while it has not ended. Raises ValueError when it is no such object of ours."""
    return _charge(document) if kind == "charge" else _refund(document)


def _charge(document: Mapping[str, Any]) -> ProviderCharge | None:
    intent = _Intent.model_validate(document)
    failure = intent.last_payment_error
    declined = intent.status == "canceled" or (intent.status == "requires_payment_method" and failure is not None)
    if intent.status != "succeeded" and not declined:
        return None
    if not declined and intent.amount_received != intent.amount:
        return None
    code = (failure and (failure.decline_code or failure.code)) or intent.status
    return ProviderCharge(
        id=intent.id,
        status="declined" if declined else "captured",
        amount=intent.amount,
        currency=intent.currency.upper(),
        reference=_ours(intent.metadata),
        decline_code=code if declined else None,
    )


def _refund(document: Mapping[str, Any]) -> ProviderRefund | None:
    refund = _Refund.model_validate(document)
    if refund.status not in {"succeeded", "failed", "canceled"}:
        return None
    failed = refund.status != "succeeded"
    return ProviderRefund(
        id=refund.id,
        status="failed" if failed else "succeeded",
        charge=refund.payment_intent,
        amount=refund.amount,
        reference=_ours(refund.metadata),
        failure_code=(refund.failure_reason or refund.status) if failed else None,
    )


def _ours(metadata: Mapping[str, str]) -> str:
    if REFERENCE not in metadata:
        raise ValueError("the object does not name one of ours")
    return metadata[REFERENCE]
