"""What does each answer of Stripe mean? The port of provider.py over Stripe's own package (docs/providers.md).

| Stripe says | we say |
|---|---|
| an object that answers our request and has ended | Succeeded, or Refused when it was declined or failed |
| an error that carries the PaymentIntent, so a decline | Refused |
| 400, 402, 404 with Stripe's error object and none of ours in it | Rejected |
| 429 of the rate limit, which stands in front of everything | Throttled |
| no connection | NotSent |
| all else | NoAnswer |

Stripe keeps the first answer to a key, a 500 or an object that has not ended yet included, and repeats it word
for word. Such a repetition is `NoAnswer(stored=True)`: the worker looks up at once.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Self

import httpx
import orjson
import stripe
import structlog

from paidonce.app.clock import Clock, SystemClock
from paidonce.app.messaging import http_call
from paidonce.app.messaging.answers import Answer, Finding, NoAnswer, NotFound, Refused, Rejected, Succeeded, Throttled
from paidonce.app.payments import stripe_calls, stripe_listing, stripe_objects
from paidonce.app.payments.provider import ObjectKind, Sought
from paidonce.app.payments.provider_objects import answers, definite, one_of, rejected
from paidonce.app.payments.stripe_calls import UnansweredError
from paidonce.app.settings import Settings
from paidonce.app.steps import step

log = structlog.get_logger(__name__)

#: For so long Stripe surely keeps a key: "at least 24 hours".
KEYS_KEPT = timedelta(hours=24)

#: What reading an answer raises that has another form than Stripe's; the package validates nothing.
_MALFORMED = (ValueError, TypeError, AttributeError, KeyError)


class StripeProvider:
    """Stripe, for one account; one object for a process, on one event loop.

    Raises:
        ConfigurationError: the key is missing, or would travel in the clear.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.honours_keys_for = min(KEYS_KEPT, timedelta(seconds=settings.provider_honours_keys_s))
        self.settles_within = _settles_within(settings)
        self._skew = timedelta(seconds=settings.clock_skew_s)
        self._http = stripe_calls.OneCall(limit_s=settings.effect_call_s, connections=2 * settings.effect_parallel)
        self._stripe = stripe_calls.client(settings, self._http)
        self._clock = clock or SystemClock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close_async()

    @step("stripe.charge")
    async def charge(self, key: str, request: bytes) -> Answer:
        """Create and confirm a PaymentIntent under `key`, once."""
        asked = orjson.loads(request)
        if asked["currency"] in stripe_objects.UNITS_DIFFER:
            return Rejected("currency_not_supported")
        intents, wanted = self._stripe.v1.payment_intents, stripe_objects.charge_parameters(asked)
        return await self._ask("charge", request, lambda: intents.create_async(wanted, {"idempotency_key": key}))

    @step("stripe.refund")
    async def refund(self, key: str, request: bytes) -> Answer:
        """Create a Refund of a PaymentIntent under `key`, once."""
        refunds, wanted = self._stripe.v1.refunds, stripe_objects.refund_parameters(orjson.loads(request))
        return await self._ask("refund", request, lambda: refunds.create_async(wanted, {"idempotency_key": key}))

    @step("stripe.find")
    async def find(self, kind: ObjectKind, sought: Sought) -> Finding:
        """Look through the list of what was made when we sent: search lags behind, and a list does not."""
        try:
            if kind == "charge":
                listed = await stripe_listing.intents(self._stripe, sought, skew=self._skew)
            else:
                listed = await stripe_listing.refunds(self._stripe, sought)
            found = [_found(kind, document) for document in listed]
        except UnansweredError as error:
            return error.outcome
        except stripe.StripeError as error:
            return NoAnswer(f"look-up: status {error.http_status}")
        except _MALFORMED:
            return NoAnswer("look-up: not Stripe's list")
        return one_of(kind, sought.reference, found) if found else NotFound()

    async def _ask(self, kind: ObjectKind, request: bytes, make: Callable[[], Awaitable[Any]]) -> Answer:
        try:
            return await self._asked(kind, request, make)
        except UnansweredError as error:
            return error.outcome
        except _MALFORMED:
            return NoAnswer("not Stripe's answer")

    async def _asked(self, kind: ObjectKind, request: bytes, make: Callable[[], Awaitable[Any]]) -> Answer:
        try:
            response = (await make()).last_response
        except stripe.StripeError as error:
            answer, headers = self._meaning(kind, request, error), error.headers
        else:
            answer, headers = _said(kind, request, response.data), response.headers
        if not isinstance(answer, NoAnswer):
            return answer
        stored = answer.stored or (headers or {}).get("idempotent-replayed") == "true"
        log.warning("provider_answer_is_not_definite", kind=kind, reason=answer.reason, stored=stored)
        return NoAnswer(answer.reason, stored=stored)

    def _meaning(self, kind: ObjectKind, request: bytes, error: stripe.StripeError) -> Answer:
        said = error.json_body.get("error") if isinstance(error.json_body, Mapping) else None
        if not isinstance(said, Mapping) or not isinstance(said.get("type"), str):
            return NoAnswer(f"status {error.http_status} without Stripe's error object")
        if isinstance(error, stripe.RateLimitError) and said.get("code") != "lock_timeout":
            return Throttled(http_call.retry_after_s(httpx.Headers(error.headers), self._clock.now()))
        if isinstance(error, stripe.IdempotencyError):  # our key, with other parameters: something may exist under it
            return NoAnswer("idempotency_error", stored=True)
        if isinstance(said.get("payment_intent"), Mapping):
            return _said(kind, request, said["payment_intent"])
        if isinstance(error, stripe.CardError | stripe.InvalidRequestError):
            return rejected(error.code, error.http_status or 400)
        return NoAnswer(f"status {error.http_status}")


def _settles_within(settings: Settings) -> timedelta | None:
    """Stripe states no such time: only who sets one on purpose has one."""
    stated = "provider_settles_within_s" in settings.model_fields_set
    seconds = settings.provider_settles_within_s if stated else None
    return None if seconds is None else timedelta(seconds=seconds)


def _said(kind: ObjectKind, request: bytes, document: Mapping[str, Any]) -> Answer:
    made = stripe_objects.ended(kind, document)
    if made is None:
        return NoAnswer(stripe_objects.status(document))
    if not answers(kind, request, made):
        log.error("provider_answer_is_not_ours", kind=kind, provider_id=made.id)
        return NoAnswer("an object that was not asked for")
    return definite(made)


def _found(kind: ObjectKind, document: Mapping[str, Any]) -> Succeeded | Refused | NoAnswer:
    made = stripe_objects.ended(kind, document)
    return NoAnswer(stripe_objects.status(document)) if made is None else definite(made)
