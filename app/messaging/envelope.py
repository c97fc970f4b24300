"""What does a message look like on the topic? CloudEvents 1.0, binary mode, plus `message-id`.

The key is the aggregate's id, the value the payload; all else is headers (CloudEvents Kafka
protocol binding 1.0.2, section 3.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

#: CloudEvents `source`: which installation wrote it does not matter to anyone yet.
SOURCE = "/paidonce"
CONTENT_TYPE = "application/json"

Headers = list[tuple[str, bytes]]


class MalformedMessageError(Exception):
    """The message is not one of ours: it lacks a member, or one is wrong."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to one aggregate, as a writer hands it to the outbox."""

    #: UUIDv7; the Message-ID for ever, in every copy
    id: UUID
    #: what the event is about, `payment`; it decides the topic
    aggregatetype: str
    #: whose order is kept; the key on the topic
    aggregateid: str
    #: `payment.captured`
    type: str
    #: the aggregate's version after the event
    sequence: int
    #: serialised once, here; never again
    payload: bytes
    #: `traceparent` and the like
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a consumer gets it, with where it was on the topic."""

    message_id: str
    type: str
    key: str
    value: bytes
    headers: Mapping[str, str]
    topic: str = ""
    partition: int = -1
    offset: int = -1

    def json(self) -> dict[str, Any]:
        """Return the payload as a JSON object; raises MalformedMessageError when it is none."""
        try:
            document = orjson.loads(self.value)
        except ValueError as error:
            raise MalformedMessageError(f"the payload is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise MalformedMessageError("the payload is not a JSON object")
        return document


def encode(event: Event, created_at: datetime) -> Headers:
    """Return the Kafka headers of `event`."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event.id).encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_type", event.type.encode()),
        ("ce_subject", event.aggregateid.encode()),
        ("ce_time", created_at.isoformat().encode()),
        ("ce_sequence", str(event.sequence).encode()),
        ("content-type", CONTENT_TYPE.encode()),
        ("message-id", str(event.id).encode()),
        *((name, value.encode()) for name, value in event.headers.items()),
    ]


def decode(
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
    *,
    topic: str = "",
    partition: int = -1,
    offset: int = -1,
) -> Message:
    """Return the message of a Kafka record.

    Raises:
        MalformedMessageError: a tombstone, no or an empty message-id, no type, or text that is not UTF-8.
    """
    try:
        texts = {name.lower(): content.decode() for name, content in headers if content is not None}
        text_key = (key or b"").decode()
    except UnicodeDecodeError as error:
        raise MalformedMessageError(f"a header or the key is not UTF-8: {error}") from error
    message_id, type_ = texts.get("message-id", ""), texts.get("ce_type", "")
    if not message_id or "\0" in message_id or len(message_id) > 255:
        raise MalformedMessageError("the header message-id is missing, empty or too long")
    if not type_:
        raise MalformedMessageError("the header ce_type is missing")
    if value is None:
        raise MalformedMessageError("a tombstone: the message has no value")
    return Message(message_id, type_, text_key, value, texts, topic, partition, offset)
