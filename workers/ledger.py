"""Who keeps the books? This consumer writes double entry for each capture and each refund, a batch at once."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Done, Outcome
from paidonce.app.payments import ledger
from paidonce.app.payments.events import EVENT_TYPES
from paidonce.app.payments.ledger import Movement

TYPES = frozenset({"payment.captured", "payment.refunded"})


def movement(message: Message) -> Movement:
    """Return what the event moves; raises what a malformed payload raises."""
    document = message.json()
    payment = document["data"]["payment"]
    captured = message.type == "payment.captured"
    moved = payment if captured else document["data"]["refund"]
    return Movement(
        kind="capture" if captured else "refund",
        tenant=document["tenant"],
        currency=payment["currency"],
        amount=moved["amount"],
        payment_id=UUID(payment["id"]),
    )


def work(tx: Connection, messages: Sequence[Message]) -> Mapping[str, Outcome]:
    """Record every message's movement in one statement."""
    ledger.record(tx, [movement(message) for message in messages])
    return {message.message_id: Done() for message in messages}


SUBSCRIBER = Subscriber("ledger", TYPES, work, known=EVENT_TYPES)
