"""What does a payment tell the world? Its events, as they stand in the outbox and on the topic.

Payloads carry ids, never a name or an e-mail address, and never the payment method.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

from paidonce.app.clock import new_id
from paidonce.app.documents import as_json
from paidonce.app.messaging.envelope import Event
from paidonce.app.payments.model import Payment, Refund, payment_document, refund_document

EventType = Literal[
    "payment.accepted",
    "payment.captured",
    "payment.declined",
    "payment.canceled",
    "payment.refund_requested",
    "payment.refunded",
    "payment.refund_failed",
]
#: All of them: what our own consumers know.
EVENT_TYPES: frozenset[str] = frozenset(get_args(EventType))


def payment_event(
    type_: EventType,
    payment: Payment,
    at: datetime,
    refund: Refund | None = None,
    *,
    document: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Event:
    """Return the event `type_` of `payment` after the change; `document` where the caller has made it already."""
    data: dict[str, Any] = {"payment": document or payment_document(payment)}
    if refund is not None:
        data["refund"] = refund_document(refund)
    return Event(
        id=new_id(),
        aggregatetype="payment",
        aggregateid=str(payment.id),
        type=type_,
        sequence=payment.version,
        payload=as_json({"tenant": payment.tenant, "type": type_, "created_at": at, "data": data}),
        headers=headers or {},
    )
