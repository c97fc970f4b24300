"""What is a trail made of? The rows that speak of one payment, and where its messages are on the topic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Literal, NamedTuple
from uuid import UUID

from paidonce.app.idempotency.store import Kept as KeptKey
from paidonce.app.messaging.dead_letters import DeadLetter
from paidonce.app.messaging.effects import Kept as KeptEffect
from paidonce.app.messaging.effects import Line
from paidonce.app.messaging.outbox import Appended
from paidonce.app.messaging.parked import Waiting
from paidonce.app.messaging.relayed import Relayed
from paidonce.app.payments.ledger import Booked
from paidonce.app.payments.model import Payment, Refund


# Without slots, for what is made of the facts once: made anew for each entry it would hold the API up for a second.
@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that the database says of one payment, read by app/trail/reading.py in the order of the path."""

    payment: Payment
    refunds: Sequence[Refund]
    keys: Sequence[KeptKey]
    #: by position, a replay's copies among them
    events: Sequence[Appended]
    #: by the event's position
    windows: Mapping[int, Relayed]
    #: consumer of the topic -> since when it counts; None: from its first message on
    consumers: Mapping[str, datetime | None]
    #: by (consumer, message id)
    arrivals: Mapping[tuple[str, UUID], datetime]
    parked: Sequence[Waiting]
    letters: Sequence[DeadLetter]
    effects: Sequence[KeptEffect]
    #: in order
    history: Sequence[Line]
    booked: Sequence[Booked]
    #: which types the tenant's endpoint wants (None: all), and since when; None: there is none
    wished: tuple[tuple[str, ...] | None, datetime] | None
    topic: str
    #: whether Debezium publishes: there are no windows then
    by_cdc: bool
    #: the first day that the outbox still has
    outbox_from: date
    #: how long a key is remembered
    keys_kept: timedelta
    #: on the database's clock
    read_at: datetime
    #: False: there is more of something than was read
    complete: bool

    @cached_property
    def originals(self) -> list[Appended]:
        """Return the events without a replay's copies."""
        return [event for event in self.events if not event.is_copy]

    @cached_property
    def typed(self) -> dict[str, str]:
        """Return message id -> type."""
        return {str(event.id): event.type for event in self.events}

    @cached_property
    def arrived(self) -> frozenset[UUID]:
        """Return the ids of the messages that any consumer has got."""
        return frozenset(message_id for _, message_id in self.arrivals)


class Place(NamedTuple):
    """Where a message is on the topic."""

    partition: int
    offset: int
    #: the record's own time
    at: datetime


class Missing(NamedTuple):
    """Why a message was not found on the topic."""

    #: `removed`: what was sent at its time is no longer there; `not_found`: it is not among the records looked at
    why: Literal["removed", "not_found"]
    records: int


#: Message id -> where it is.
Places = Mapping[UUID, Place | Missing]
