"""What does a message look like on the topic? CloudEvents 1.0, binary mode, plus `message-id`.

The key is the aggregate's id, the value the payload; all else is headers (CloudEvents Kafka
protocol binding 1.0.2, section 3.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

#: CloudEvents `source`: which installation wrote it does not matter to anyone yet.
SOURCE = "/paidonce"
CONTENT_TYPE_NAME, CONTENT_TYPE = "content-type", "application/json"
#: CloudEvents `specversion`: what this program writes and reads.
SPECVERSION = "1.0"
#: The header with the form of the payload, where a writer names one.
DATASCHEMA = "ce_dataschema"
#: The header with the event's time.
TIME = "ce_time"
#: The header that only a copy has, with the time of its replay; a copy brings its event's own time along.
REPLAYED = "ce_replayedtime"
#: What every message has alike.
ALIKE = (
    ("ce_specversion", SPECVERSION.encode()),
    ("ce_source", SOURCE.encode()),
    (CONTENT_TYPE_NAME, CONTENT_TYPE.encode()),
)
#: Headers that say what a message is. Each may come once: two of them may contradict each other.
SINGLE = frozenset({"message-id", "ce_type", "ce_specversion", DATASCHEMA})
#: Where Debezium's outbox event router puts the column `headers`, as JSON: it cannot take it apart (docs/cdc.md).
FOLDED = "outbox-headers"

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


class Message(NamedTuple):
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
    key, time = event.aggregateid.encode(), created_at.isoformat().encode()
    return headers_of(str(event.id).encode(), event.type, key, time, sequence=event.sequence, more=event.headers)


def headers_of(id_: bytes, type_: str, key: bytes, time: bytes, *, sequence: int, more: Mapping[str, str]) -> Headers:
    """Return the same from an event's parts: `id_` a UUID, `time` ISO 8601, both as text."""
    headers = [
        *ALIKE,
        ("ce_id", id_),
        ("ce_type", type_.encode()),
        ("ce_subject", key),
        ("ce_sequence", b"%d" % sequence),
        ("message-id", id_),
    ]
    if TIME not in more:
        headers.append((TIME, time))
    if more:
        headers += [(name, value.encode()) for name, value in more.items()]
    return headers


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
        MalformedMessageError: a tombstone, no or an empty message-id, no type, one of them twice, another
            specversion of CloudEvents, folded headers that are no JSON, or text that is not UTF-8.
    """
    try:
        texts = {name.lower(): content.decode() for name, content in headers if content is not None}
        text_key = (key or b"").decode()
    except UnicodeDecodeError as error:
        raise MalformedMessageError(f"a header or the key is not UTF-8: {error}") from error
    if len(texts) != len(headers):
        _check_single(headers)
    if FOLDED in texts:
        texts = _unfolded(texts.pop(FOLDED)) | texts
    message_id, type_ = texts.get("message-id", ""), texts.get("ce_type", "")
    if not message_id or "\0" in message_id or len(message_id) > 255:
        raise MalformedMessageError("the header message-id is missing, empty or too long")
    if not type_:
        raise MalformedMessageError("the header ce_type is missing")
    if texts.get("ce_specversion", SPECVERSION) != SPECVERSION:
        raise MalformedMessageError(
            f"specversion {texts['ce_specversion']!r} of CloudEvents: this program reads {SPECVERSION}; "
            "deploy one that reads it, then redrive"
        )
    if value is None:
        raise MalformedMessageError("a tombstone: the message has no value")
    return Message(message_id, type_, text_key, value, texts, topic, partition, offset)


def _unfolded(text: str) -> dict[str, str]:
    try:
        found = orjson.loads(text)
    except ValueError as error:
        raise MalformedMessageError(f"the header {FOLDED} is not JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise MalformedMessageError(f"the header {FOLDED} is not a JSON object of texts")
    return {name.lower(): value for name, value in found.items()}


def _check_single(headers: Sequence[tuple[str, bytes | None]]) -> None:
    names = [name.lower() for name, _ in headers]
    twice = sorted(name for name in SINGLE if names.count(name) > 1)
    if twice:
        raise MalformedMessageError(f"the header {twice[0]} comes more than once")
