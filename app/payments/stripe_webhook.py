"""Who wrote this webhook of Stripe's, and what does it tell? Their signature, their events, the port's words.

Stripe's package checks the signature; what comes in is parsed here before, strictly: the package trusts headers more.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import stripe
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paidonce.app.errors import BadRequestError, ConfigurationError
from paidonce.app.payments import stripe_objects
from paidonce.app.payments.provider import ObjectKind, ProviderCharge, ProviderRefund
from paidonce.app.settings import Settings
from paidonce.app.webhooks.signing import TOLERANCE, WebhookSignatureError

#: The one header that must be there, once at most.
HEADERS = ("stripe-signature",)

#: The events that tell us something; an endpoint may send others, which are none of our business.
EVENTS: Mapping[str, ObjectKind] = {
    "payment_intent.succeeded": "charge",
    "payment_intent.payment_failed": "charge",
    "payment_intent.canceled": "charge",
    "refund.created": "refund",
    "refund.updated": "refund",
    "refund.failed": "refund",
    "charge.refund.updated": "refund",
}

# While a secret is replaced, Stripe signs with the old one and with the new.
_SIGNATURE = re.compile(r"t=([0-9]{1,11})(,v[0-9]{1,2}=[0-9a-f]{1,128}){1,8}")

log = structlog.get_logger(__name__)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    object: dict[str, Any]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str = Field(pattern=r"^[A-Za-z0-9_]{1,255}$")
    type: str
    data: _Data


def verify(settings: Settings, headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """Return the id of the event that Stripe signed not long ago; `headers` are looked up in lower case.

    Raises:
        WebhookSignatureError: the header is missing or malformed, the time too far, or no signature fits.
        BadRequestError: it is signed, and no event of Stripe's.
        ConfigurationError: there is no secret on our side.
    """
    secret = settings.stripe_webhook_secret.get_secret_value()
    if not secret.startswith("whsec_"):
        raise ConfigurationError(
            "Stripe's webhooks cannot be verified: set PAIDONCE_STRIPE_WEBHOOK_SECRET to the endpoint's whsec_…"
        )
    header = headers.get("stripe-signature", "")
    given = _SIGNATURE.fullmatch(header)
    if not given:
        raise WebhookSignatureError("stripe-signature is missing or malformed")
    if abs(now.timestamp() - int(given[1])) > TOLERANCE.total_seconds():
        raise WebhookSignatureError("stripe-signature's time is too far from now")
    try:
        stripe.WebhookSignature.verify_header(body, header, secret)
    except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
        raise WebhookSignatureError("no signature fits") from error
    return _event(body).id


def read(body: bytes) -> ProviderCharge | ProviderRefund | None:
    """Return what a verified event says of a charge or refund of ours; None: nothing, or nothing definite.

    Raises:
        BadRequestError: the object is not what the event's type promises.
    """
    event = _event(body)
    kind, document = EVENTS.get(event.type), event.data.object
    if kind is None or stripe_objects.reference(document) is None:
        return None
    try:
        return stripe_objects.ended(kind, document)
    except ValueError as error:
        raise BadRequestError(f"the object of the event {event.type} is not Stripe's") from error


def _event(body: bytes) -> _Event:
    try:
        return _Event.model_validate_json(body)
    except ValidationError as error:
        raise BadRequestError("the body is no event of Stripe's") from error
