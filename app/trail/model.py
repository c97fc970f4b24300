"""What is the trail of a payment? Entries in the order of their times, gaps among them. Pure: no table, no clock.

Made by `trail_of(tx, settings, payment_id, tenant=None) -> Trail | None` (app/trail/trail.py); payments are
found by `find(tx, text) -> list[Found]` (app/trail/finding.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from paidonce.app.payments.model import PaymentStatus

#: In the order in which they follow on each other, where times are equal.
Stage = Literal[
    "request",
    "commit",
    "event",
    "window",
    "topic",
    "inbox",
    "parked",
    "dead_letter",
    "effect",
    "ledger",
    "webhook",
]

STAGES: tuple[Stage, ...] = get_args(Stage)

#: `looked`: entries of the stage `topic` are there, found or missing; `not_looked_for`: nobody asked Kafka;
#: `away`: it was asked and did not answer.
Kafka = Literal["looked", "not_looked_for", "away"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened to the payment, or that should have happened and did not."""

    #: when it happened, aware; of a gap since when it is missing; of what was removed when it belongs there
    at: datetime
    stage: Stage
    #: a sentence without ids, for people: "charge: sent, attempt 1", "ledger has not got payment.captured"
    what: str
    #: name -> id, never a secret and nothing about a customer: `key`, `event`, `transaction`, `shard`, `effect`, …
    ids: Mapping[str, str]
    #: it should be here and is not, or nobody knows what happened
    gap: bool = False
    #: retention has removed it: no gap
    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """All that is known of one payment's path; the entries in the order of their times."""

    payment_id: UUID
    tenant: str
    status: PaymentStatus
    #: in minor units of `currency` (ISO 4217)
    amount: int
    amount_refunded: int
    currency: str
    #: when it was read, on the database's clock
    read_at: datetime
    kafka: Kafka
    #: False: there is more of something than is read at once, and what seems to be missing may be there
    complete: bool
    entries: tuple[Entry, ...]

    @property
    def gaps(self) -> tuple[Entry, ...]:
        """Return the entries that are missing."""
        return tuple(entry for entry in self.entries if entry.gap)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A payment that a text led to."""

    tenant: str
    payment_id: UUID
    #: what the text is to the payment
    why: Literal["payment", "refund", "idempotency_key", "reference", "message_id"]


def trail_document(trail: Trail) -> dict[str, Any]:
    """Return the trail as the API and `paidonce trail --json` show it: the same while nothing has changed."""
    return {
        "object": "trail",
        "payment_id": str(trail.payment_id),
        "tenant": trail.tenant,
        "status": trail.status,
        "amount": trail.amount,
        "amount_refunded": trail.amount_refunded,
        "currency": trail.currency,
        "kafka": trail.kafka,
        "complete": trail.complete,
        "gaps": len(trail.gaps),
        "entries": [
            {
                "at": entry.at,
                "stage": entry.stage,
                "what": entry.what,
                "ids": dict(entry.ids),
                "gap": entry.gap,
                "removed": entry.removed,
            }
            for entry in trail.entries
        ],
    }
