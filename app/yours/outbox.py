"""How does your API write an event? `outbox.append`, in the transaction that causes it (docs/own-workers.md)."""

from collections.abc import Mapping
from uuid import UUID

import orjson

from paidonce.app import trace_context
from paidonce.app.clock import new_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging.envelope import CONTENT_TYPE_NAME, Event
from paidonce.app.messaging.outbox import APPEND, check_size
from paidonce.app.messaging.topics import PAYMENT, about_of_type
from paidonce.app.settings import settings
from paidonce.app.yours.payload import Payload, encode
from paidonce.app.yours.transaction import AsyncTransaction, Parameters, Transaction, execute, execute_async

__all__ = ("append", "append_async")


def append(
    tx: Transaction,
    event_type: str,
    key: str,
    data: Payload,
    *,
    sequence: int = 0,
    headers: Mapping[str, str] | None = None,
) -> UUID:
    """Write an event in your transaction; it is published when that commits, and never when it does not.

    `event_type` is `order.placed`, what it is about before the dot; `key` is the order's id, whose events keep
    their order where you lock its row first; `sequence` the order's version, 0 where it has none; `headers` travel
    along, `traceparent` for one, which in a handler is its message's. Returns the message id, the event's for ever.

    Raises:
        ConfigurationError: no event type, a key or header that no topic carries, too large for the topic
            (`PAIDONCE_MESSAGE_BYTES_MAX`), or no transaction.
    """
    event = _event(event_type, key, data, sequence, headers)
    execute(tx, APPEND, _row(event))
    return event.id


async def append_async(
    tx: AsyncTransaction,
    event_type: str,
    key: str,
    data: Payload,
    *,
    sequence: int = 0,
    headers: Mapping[str, str] | None = None,
) -> UUID:
    """Do the same in a transaction on asyncio; raises as `append` does."""
    event = _event(event_type, key, data, sequence, headers)
    await execute_async(tx, APPEND, _row(event))
    return event.id


def _event(event_type: str, key: str, data: Payload, sequence: int, headers: Mapping[str, str] | None) -> Event:
    about = about_of_type(event_type)
    if about == PAYMENT:
        raise ConfigurationError(f"{event_type}: events about a payment are Paidonce's own; name what yours is about")
    if not key or "\0" in key:
        raise ConfigurationError(f"{event_type}: the key must be the id of a {about}, without NUL")
    ours = [name for name in headers or () if name.lower().startswith("ce_") or name.lower() in OURS]
    if ours:
        raise ConfigurationError(f"{event_type}: the header {ours[0]} is written by Paidonce; name yours otherwise")
    traced = {**trace_context.headers(), **(headers or {})}
    event = Event(new_id(), about, key, event_type, sequence, encode(data), traced)
    check_size(event, settings().message_bytes_max)
    return event


#: Headers that every message has from us, beside those of CloudEvents.
OURS = frozenset({"message-id", CONTENT_TYPE_NAME})


def _row(event: Event) -> Parameters:
    return {
        "id": str(event.id),
        "aggregatetype": event.aggregatetype,
        "aggregateid": event.aggregateid,
        "type": event.type,
        "sequence": event.sequence,
        "payload": event.payload,
        "headers": orjson.dumps(event.headers).decode(),
    }
