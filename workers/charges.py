"""Who asks the provider for money? Nobody here: this consumer makes the effect, and the effects worker calls."""

from uuid import UUID

from sqlalchemy import Connection

from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.handlers import each
from paidonce.app.messaging.hint import effects_of
from paidonce.app.messaging.outcomes import Outcome
from paidonce.app.payments import charging
from paidonce.app.payments.events import EVENT_TYPES


def accepted(tx: Connection, message: Message) -> Outcome:
    """Begin to charge an accepted payment."""
    return charging.start_charge(tx, UUID(message.json()["data"]["payment"]["id"]))


def refund_requested(tx: Connection, message: Message) -> Outcome:
    """Begin to refund."""
    return charging.start_refund(tx, UUID(message.json()["data"]["refund"]["id"]))


SUBSCRIBER = each(
    "charges",
    {"payment.accepted": accepted, "payment.refund_requested": refund_requested},
    hints=(effects_of("charge"), effects_of("refund")),
    known=EVENT_TYPES,
)
