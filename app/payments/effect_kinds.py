"""What does the effects worker need to know of charges and refunds? The kinds `charge` and `refund`.

Both go to the same provider, so they share its circuit breaker (docs/design.md, "Effects").
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection

from paidonce.app.messaging.answers import Answer, Finding, Rejected
from paidonce.app.messaging.effect_kinds import Definite, Effect
from paidonce.app.payments import charging
from paidonce.app.payments.provider import (
    ObjectKind,
    Provider,
    ProviderCharge,
    ProviderRefund,
    Sought,
    provider_key,
)


class _ProviderKind:
    """What charges and refunds have in common."""

    name: ObjectKind
    circuit: str | None = "provider"
    #: must never happen twice
    repeats_for: timedelta | None = None

    def __init__(self, provider: Provider, *, call_s: float) -> None:
        self.call_s = call_s
        self._provider = provider

    @property
    def honours_keys_for(self) -> timedelta:
        """How long the provider answers a repeated key with the first result."""
        return self._provider.honours_keys_for

    @property
    def settles_within(self) -> timedelta | None:
        """After which time a request is in the provider's look-up if it ever will be."""
        return self._provider.settles_within

    async def look_up(self, effect: Effect) -> Finding | None:
        """Ask what exists under our reference, which is the effect's subject."""
        sought = Sought(
            reference=effect.subject, request=effect.request, since=effect.first_sent_at, until=effect.sent_until
        )
        return await self._provider.find(self.name, sought)


class ChargeKind(_ProviderKind):
    """A payment's one charge; `subject` is the payment's id."""

    name: ObjectKind = "charge"

    async def call(self, effect: Effect) -> Answer:
        """Send the charge once, under the payment's key."""
        return await self._provider.charge(provider_key("charge", effect.subject), effect.request)

    def settle(self, tx: Connection, effect: Effect, answer: Definite) -> None:
        """Capture or decline the payment."""
        if isinstance(answer, Rejected):
            charging.reject_charge(tx, UUID(effect.subject), answer.code)
        else:
            charging.settle_charge(tx, ProviderCharge.model_validate(dict(answer.body)))


class RefundKind(_ProviderKind):
    """One refund; `subject` is the refund's id."""

    name: ObjectKind = "refund"

    async def call(self, effect: Effect) -> Answer:
        """Send the refund once, under the refund's key."""
        return await self._provider.refund(provider_key("refund", effect.subject), effect.request)

    def settle(self, tx: Connection, effect: Effect, answer: Definite) -> None:
        """Let the refund succeed or fail."""
        if isinstance(answer, Rejected):
            charging.reject_refund(tx, UUID(effect.subject), answer.code)
        else:
            charging.settle_refund(tx, ProviderRefund.model_validate(dict(answer.body)))
