"""What does the relay carry of an event? Its row of the outbox, as near to bytes as the server hands it over.

An id, a time or a document that Python took apart would only be put together again for the topic.
"""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import orjson

from paidonce.app.messaging.envelope import Event


class Stored(NamedTuple):
    """An event as the outbox holds it; the columns of `windows.ROW`, in their order."""

    position: int
    #: a UUID as text
    id: str
    aggregatetype: str
    aggregateid: str
    type: str
    sequence: int
    payload: bytes
    #: a JSON object
    headers: str
    #: ISO 8601 in UTC, as a JSON string
    created_at: str
    #: bytes of payload and headers, as the server keeps them
    size: int

    @property
    def event(self) -> Event:
        """The event as its writer appended it."""
        return Event(
            UUID(self.id),
            self.aggregatetype,
            self.aggregateid,
            self.type,
            self.sequence,
            self.payload,
            orjson.loads(self.headers),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """What of a span fits into one window."""

    events: list[Stored]
    #: whether nothing of the span follows
    is_last: bool


def cut(rows: list[Stored], *, events_max: int, bytes_max: int) -> Part:
    """Return as many of `rows` as one window takes, the first in any case."""
    count = size = 0
    for row in rows[:events_max]:
        size += row.size
        if size > bytes_max and count:
            break
        count += 1
    return Part(rows[:count], count == len(rows))
