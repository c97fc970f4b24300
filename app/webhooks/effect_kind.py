"""What does the effects worker need to know of merchant webhooks? The kind `webhook`.

`subject` is the event's id, which is the webhook-id for ever; `request` is the finished body. The
address and the secret are those of the moment of sending, so a merchant can mend them.
"""

from datetime import timedelta

import structlog
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app.messaging import dead_letters
from paidonce.app.messaging.answers import Answer, Finding, Refused, Succeeded
from paidonce.app.messaging.effect_kinds import Definite, Effect
from paidonce.app.settings import Settings
from paidonce.app.webhooks import endpoints
from paidonce.app.webhooks.delivery import Delivery

#: Under this consumer's name the operator finds deliveries that nobody took.
CONSUMER = "webhook-delivery"

#: The tenant has removed its endpoint since: there is nobody to tell.
NO_ENDPOINT = "no-endpoint"

log = structlog.get_logger(__name__)


class WebhookKind:
    """One event for one tenant: at least once, until it is taken, refused for good, or too old."""

    name = "webhook"
    #: a merchant's dead server is no reason not to tell the others
    circuit: str | None = None
    #: a merchant is not asked what it has seen, so neither of these means anything here
    honours_keys_for = timedelta(0)
    settles_within: timedelta | None = None

    def __init__(self, bind: AsyncEngine, delivery: Delivery, settings: Settings) -> None:
        self._bind, self._delivery = bind, delivery
        self.call_s = settings.webhook_call_s
        self.repeats_for: timedelta | None = timedelta(hours=settings.webhook_retry_horizon_h)

    async def call(self, effect: Effect) -> Answer:
        """Send the webhook once to where the tenant wants it now."""
        async with self._bind.connect() as tx:
            endpoint = await tx.run_sync(endpoints.get, effect.tenant)
        if endpoint is None:
            return Refused(NO_ENDPOINT, {})
        return await self._delivery.deliver(endpoint, effect.subject, effect.request)

    async def look_up(self, effect: Effect) -> Finding | None:  # noqa: ARG002  the worker asks every kind alike
        """Say that a merchant cannot be asked."""
        return None

    def settle(self, tx: Connection, effect: Effect, answer: Definite) -> None:
        """Keep what nobody took as a dead letter, and settle one that was redriven and is taken now."""
        if isinstance(answer, Succeeded):
            dead_letters.done(tx, consumer=CONSUMER, message_id=effect.subject)
            return
        log.warning("webhook_given_up", webhook_id=effect.subject, tenant=effect.tenant, code=answer.code)
        dead_letters.add(
            tx,
            consumer=CONSUMER,
            message_id=effect.subject,
            key=effect.tenant,
            envelope={"tenant": effect.tenant, "attempts": effect.attempts},
            value=effect.request,
            reason=answer.code,
        )
