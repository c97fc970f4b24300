"""What is the path of a payment? The one question that the API, the command and the console ask."""

from uuid import UUID

from sqlalchemy import Connection

from paidonce.app.settings import Settings
from paidonce.app.trail import deliveries, origins, outside
from paidonce.app.trail.facts import Facts, Places
from paidonce.app.trail.model import STAGES, Kafka, Trail
from paidonce.app.trail.reading import read


def trail_of(tx: Connection, settings: Settings, payment_id: UUID, tenant: str | None = None) -> Trail | None:
    """Return a payment's trail, without a look at Kafka; None when there is none, or not the `tenant`'s.

    Without a `tenant` it is anybody's: for an operator of the installation, never for a caller of the API.
    """
    facts = read(tx, settings, payment_id, tenant)
    return None if facts is None else assemble(facts)


def assemble(facts: Facts, places: Places | None = None, kafka: Kafka = "not_looked_for") -> Trail:
    """Return the trail that the facts make, with where the messages are on the topic if that was looked for."""
    payment = facts.payment
    found = [*origins.entries(facts, places), *deliveries.entries(facts, places), *outside.entries(facts)]
    return Trail(
        payment_id=payment.id,
        tenant=payment.tenant,
        status=payment.status,
        amount=payment.amount,
        amount_refunded=payment.amount_refunded,
        currency=payment.currency,
        read_at=facts.read_at,
        kafka=kafka,
        complete=facts.complete,
        entries=tuple(sorted(found, key=lambda entry: (entry.at, STAGES.index(entry.stage)))),
    )
