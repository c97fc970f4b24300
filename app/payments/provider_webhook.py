"""What does a webhook of the provider change? The same as its reply would, once for each webhook-id.

The signature was verified before (app/webhooks/signing.py); the edge commits, then answers 204.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import Connection

from paidonce.app.errors import BadRequestError, NotFoundError
from paidonce.app.messaging import dead_letters, inbox
from paidonce.app.payments import charging
from paidonce.app.payments.provider import ProviderCharge, ProviderRefund

#: Whose inbox the webhook-ids are in.
CONSUMER = "provider-webhook"

#: The events that tell us something; a provider has many more, and they are none of our business.
CHARGE_EVENTS = frozenset({"charge.captured", "charge.declined"})
REFUND_EVENTS = frozenset({"refund.succeeded", "refund.failed"})

#: The headers that sign a webhook of the contract (app/webhooks/signing.py).
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

#: What a verified body says of a charge or refund; raises BadRequestError.
Read = Callable[[bytes], ProviderCharge | ProviderRefund | None]

log = structlog.get_logger(__name__)


class _Webhook(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    type: str
    data: dict[str, Any]


def handle(tx: Connection, webhook_id: str, body: bytes, read: Read | None = None) -> None:
    """Work on one verified webhook in the caller's transaction; nothing the second time.

    `read` says what the body tells, where another provider than that of the contract wrote it.

    Raises:
        BadRequestError: the body is not what its type promises; nothing was claimed.
    """
    said = (read or contracts)(body)
    if said is None or not inbox.claim(tx, CONSUMER, [webhook_id]):
        return
    try:
        UUID(said.reference)
        _settle(tx, said)
    except (NotFoundError, ValueError):
        _alarm(tx, webhook_id, said, body)


def _settle(tx: Connection, said: ProviderCharge | ProviderRefund) -> None:
    if isinstance(said, ProviderCharge):
        charging.settle_charge(tx, said)
    else:
        charging.settle_refund(tx, said)


def contracts(body: bytes) -> ProviderCharge | ProviderRefund | None:
    """Return the object that the contract's webhook is about; None when it is about something else.

    Raises:
        BadRequestError: the body is not what its type promises.
    """
    try:
        webhook = _Webhook.model_validate_json(body)
        if webhook.type not in CHARGE_EVENTS | REFUND_EVENTS:
            return None
        model = ProviderCharge if webhook.type in CHARGE_EVENTS else ProviderRefund
        said = model.model_validate(webhook.data)
    except ValidationError as error:
        raise BadRequestError("the webhook's body is not the contract's") from error
    if said.status != webhook.type.partition(".")[2]:
        raise BadRequestError("the webhook's type and its object's status disagree")
    return said


def _alarm(tx: Connection, webhook_id: str, said: ProviderCharge | ProviderRefund, body: bytes) -> None:
    """Answering with an error would bring the same webhook again for ever: a person has to look."""
    reason = f"the provider says {said.status} of {said.reference}, which we do not have"
    log.error("provider_webhook_of_nothing_of_ours", webhook_id=webhook_id, provider_id=said.id)
    dead_letters.add(
        tx,
        consumer=CONSUMER,
        message_id=webhook_id,
        key=said.reference,
        envelope={"provider_id": said.id},
        value=body,
        reason=reason,
    )
