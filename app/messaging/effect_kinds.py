"""What is an effect, and what must a kind of effect be able to do? Charge, refund and webhook are three.

The worker owns leases, retries and states; a kind only knows its other side: how to ask it, how
to look there, and what a definite answer means in our tables (docs/design.md, "Effects").
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from sqlalchemy import Connection

from paidonce.app.messaging.answers import Answer, Finding, Refused, Rejected, Succeeded

#: What ends an effect. `Rejected`: the other side holds nothing of it, and never will.
Definite = Succeeded | Refused | Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One call to the outside, as a worker claimed it; every time is the database's."""

    id: UUID
    kind: str
    #: unique with the kind; the other side's idempotency key derives from it
    subject: str
    tenant: str
    #: the exact bytes to send, now and every time again
    request: bytes
    #: claims so far, this one included
    attempts: int
    #: whether an earlier attempt may have reached the other side
    open_attempt: bool
    #: no byte of it left before this; the other side's retention of keys counts from here
    first_sent_at: datetime
    #: end of the lease of the last earlier attempt that may have sent; None: there is none
    sent_until: datetime | None
    claim_token: UUID
    claimed_at: datetime
    lease_until: datetime
    created_at: datetime
    #: of what it was written down for; None: that was in no trace
    traceparent: str | None = None


class Kind(Protocol):
    """One kind of effect; one object serves all its effects, many at once on one event loop."""

    @property
    def name(self) -> str:
        """The column `kind`."""

    @property
    def circuit(self) -> str | None:
        """Kinds that name the same circuit fail together and share a breaker; None: no breaker."""

    @property
    def call_s(self) -> float:
        """Seconds that one call or look-up may take; the worker cuts it off there."""

    @property
    def honours_keys_for(self) -> timedelta:
        """How long the other side answers a repeated key with the first result; zero: it ignores keys."""

    @property
    def settles_within(self) -> timedelta | None:
        """After which time a request is in the look-up if it ever will be; None: nobody says."""

    @property
    def repeats_for(self) -> timedelta | None:
        """None: must never happen twice. Else it may, and is repeated this long after it was created."""

    async def call(self, effect: Effect) -> Answer:
        """Send `effect.request` once, under the key of its subject, without any retry.

        Raising means what NoAnswer means: nobody knows.
        """

    async def look_up(self, effect: Effect) -> Finding | None:
        """Ask the other side, changing nothing there, what came of it; None: it cannot be asked."""

    def settle(self, tx: Connection, effect: Effect, answer: Definite) -> None:
        """Write what a definite answer means, with its events, in the transaction that ends the effect.

        Of a kind that repeats, `Rejected("retry-horizon")` says that nobody took it in time.
        """
