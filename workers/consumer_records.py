"""What did Kafka hand us? A message, or a record that is none: then its reason, and an id to keep it under.

A record is kept whole as its envelope (JSON) and its value (bytes), and can be read again from
the two: that is how parked messages and dead letters come back.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from paidonce.app.messaging.envelope import MalformedMessageError, Message, decode
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.trace_context import HEADER

#: Text, or {"base64": …} of bytes that JSON in PostgreSQL cannot hold: not UTF-8, or with NUL.
Kept = str | dict[str, str] | None


class Record(Protocol):
    """One record of the topic, as the Kafka client gives it."""

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def partition(self) -> int:
        """The partition that it is in."""

    @property
    def offset(self) -> int:
        """Its place there."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970, by its producer."""

    @property
    def key(self) -> bytes | None:
        """The aggregate's id."""

    @property
    def value(self) -> bytes | None:
        """The payload; None in a tombstone."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """The envelope."""


class Arrival(NamedTuple):
    """A record as the consumer works on it: it has a message, or a fault that says why not."""

    record: Record
    message_id: str
    #: text of the record's key, None when it is none
    key: str | None
    message: Message | None
    fault: str = ""
    #: what was refused, though it is a message: its id is its own only where the outbox has it so
    refused: Message | None = None

    @property
    def traceparent(self) -> str:
        """Of its message; empty when it has none."""
        return self.message.headers.get(HEADER, "") if self.message else ""

    def condemned(self, fault: str) -> "Arrival":
        """Return the same arrival as one that nobody shall work on."""
        return self._replace(message=None, fault=fault)

    def by_place(self) -> "Arrival":
        """Return the same arrival under its place on the topic: the id that it names is another's."""
        return self._replace(message_id=_synthetic_id(self.record))


def read(record: Record, subscriber: Subscriber) -> Arrival:
    """Return what `record` is to `subscriber`; never raises."""
    try:
        message = decode(
            record.key,
            record.value,
            record.headers,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
    except MalformedMessageError as error:
        return _malformed(record, str(error))
    refusal = subscriber.refuses(message)
    if refusal:
        return _malformed(record, refusal, message)
    return Arrival(record, message.message_id, message.key, message)


def envelope(arrival: Arrival) -> dict[str, Any]:
    """Return everything of the record but its value, as JSON."""
    record = arrival.record
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _keep(record.key),
        "headers": [[_keep(name.encode()), _keep(value)] for name, value in record.headers],
        "synthetic_id": arrival.message_id == _synthetic_id(record),
    }


def restore(kept: dict[str, Any], value: bytes) -> Message:
    """Return the message that was kept as `kept` and `value`; raises MalformedMessageError as `decode` does."""
    headers = [((_bytes(name) or b"").decode(), _bytes(content)) for name, content in kept["headers"]]
    place = {name: kept[name] for name in ("topic", "partition", "offset")}
    return decode(_bytes(kept["key"]), value, headers, **place)


def _malformed(record: Record, fault: str, refused: Message | None = None) -> Arrival:
    return Arrival(record, _synthetic_id(record), _text(record.key), None, fault, refused)


def _synthetic_id(record: Record) -> str:
    """Name a record that has no id of its own by its place; the timestamp tells it from one of a recreated topic."""
    return f"record:{record.topic}:{record.partition}:{record.offset}@{record.timestamp}"


def _text(content: bytes | None) -> str | None:
    kept = _keep(content)
    return kept if isinstance(kept, str) else None


def _keep(content: bytes | None) -> Kept:
    if content is None:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    return {"base64": b64encode(content).decode()} if "\0" in text else text


def _bytes(kept: Kept) -> bytes | None:
    return b64decode(kept["base64"]) if isinstance(kept, dict) else kept.encode() if kept is not None else None
