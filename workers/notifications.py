"""Which merchants are told? Each event of a tenant with an endpoint becomes a webhook effect; effects.py sends it."""

import orjson
from sqlalchemy import Connection

from paidonce.app.messaging import effects
from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.handlers import each
from paidonce.app.messaging.hint import effects_of
from paidonce.app.messaging.outcomes import Done, Outcome
from paidonce.app.payments.events import EVENT_TYPES
from paidonce.app.webhooks import endpoints


def notify(tx: Connection, message: Message) -> Outcome:
    """Make the webhook's effect, if the tenant wants this event; its id is the event's for ever."""
    document = message.json()
    tenant, type_ = document["tenant"], document["type"]
    endpoint = endpoints.get(tx, tenant)
    if endpoint is None or not endpoint.wants(type_):
        return Done()
    # The body of the Standard Webhooks specification: type, timestamp, data.
    body = orjson.dumps({"type": type_, "timestamp": document["created_at"], "data": document["data"]})
    effects.create(tx, kind="webhook", subject=message.message_id, tenant=tenant, request=body)
    return Done()


SUBSCRIBER = each(
    "notifications", dict.fromkeys(EVENT_TYPES, notify), hints=(effects_of("webhook"),), known=EVENT_TYPES
)
