"""What does the simulator answer as Stripe? Its rules for keys and for look-ups, over the same journal.

Keys: the first answer is kept, whatever it is, and repeated word for word, a 500 too. Nothing is kept of a request
that was malformed, met another under its key, or was one too many; other parameters under a key are an error.
Look-ups: lists, newest first, by pages, in which an object is from the moment that it is made.
"""

import asyncio
import random
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from paidonce.app.clock import Clock
from paidonce.devstack.provider import behaviour as behaviours
from paidonce.devstack.provider import stripe_form
from paidonce.devstack.provider.behaviour import Behaviour
from paidonce.devstack.provider.calls import Calls, Stop
from paidonce.devstack.provider.journal import Journal, Kind
from paidonce.devstack.provider.money import fingerprint
from paidonce.devstack.provider.options import Options
from paidonce.devstack.provider.stripe_form import invalid

#: Makes an object, or does not, by the code of a refusal; returns status and body of the answer.
Effect = Callable[[str | None], tuple[int, dict[str, Any]]]

#: The latest second that a filter may name.
_FAR = 2**40


class StripeService:
    """The handlers; `made` is called after each effect, so that its event goes out at once."""

    def __init__(self, journal: Journal, options: Options, clock: Clock, made: Callable[[], None]) -> None:
        self._journal, self._options, self._clock, self._made = journal, options, clock, made
        self._calls = Calls(journal, clock, _refused)
        #: keys that something runs under now
        self._running: set[str] = set()

    async def intents(self, request: Request) -> Response:
        """`POST` and `GET /v1/payment_intents`."""
        return await self._calls.answer(request, self._list_intents if request.method == "GET" else self._intent)

    async def refunds(self, request: Request) -> Response:
        """`POST` and `GET /v1/refunds`."""
        return await self._calls.answer(request, self._list_refunds if request.method == "GET" else self._refund)

    async def _list_intents(self, request: Request, _call: int, _body: bytes) -> Response:
        return self._listed(request, "charge", stripe_form.intent)

    async def _list_refunds(self, request: Request, _call: int, _body: bytes) -> Response:
        return self._listed(request, "refund", stripe_form.refund)

    def _listed(self, request: Request, kind: Kind, form: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Response:
        _check_key(request)
        asked = request.query_params
        limit = min(100, int(asked.get("limit", "10")))
        found = self._journal.page(
            kind,
            since=max(int(asked.get("created[gte]", "0")), int(asked.get("created[gt]", "-1")) + 1),
            until=int(asked.get("created[lte]", str(_FAR))),
            before=asked.get("starting_after"),
            limit=limit + 1,
            charge=asked.get("payment_intent"),
        )
        page = [form(one) for one in found[:limit]]
        return _json(200, {"object": "list", "data": page, "has_more": len(found) > limit})

    async def _intent(self, request: Request, call: int, body: bytes) -> Response | None:
        _check_key(request)
        wanted = stripe_form.charge_wanted(body)
        if not behaviours.known(wanted["payment_method"]):
            raise invalid("resource_missing")
        attempt = self._journal.attempt(call, request.url.path, wanted["reference"])
        how = behaviours.of_charge(wanted["payment_method"], wanted["reference"], attempt, self._options)
        key = _key(request)
        return await self._under_key(request, body, how, lambda refusal: self._charge(wanted, call, key, refusal))

    async def _refund(self, request: Request, call: int, body: bytes) -> Response | None:
        _check_key(request)
        wanted = stripe_form.refund_wanted(body)
        found = self._journal.charge(wanted["charge"])
        if found is None:
            raise invalid("resource_missing", 404)
        attempt = self._journal.attempt(call, request.url.path, wanted["reference"])
        how = behaviours.of_refund(found[1], wanted["reference"], attempt, self._options)
        key = _key(request)
        return await self._under_key(request, body, how, lambda refusal: self._give_back(wanted, call, key, refusal))

    async def _under_key(self, request: Request, body: bytes, how: Behaviour, effect: Effect) -> Response | None:
        key, print_ = _key(request), fingerprint(request.url.path, body)
        before = self._journal.remembered(key, self._now() - self._options.key_retention_s)
        if before and self._options.honours_keys:
            if before.fingerprint != print_:
                raise Stop(400, "idempotency_key_reused", type_="idempotency_error")
            kept = orjson.loads(before.document)
            return _json(kept["status"], kept["body"], {"Idempotent-Replayed": "true"})
        if key in self._running and self._options.honours_keys:
            raise Stop(409, "idempotency_key_in_use", type_="invalid_request_error")
        self._running.add(key)
        try:
            return await self._carry_out(key, print_, how, effect)
        finally:
            self._running.discard(key)

    async def _carry_out(self, key: str, print_: str, how: Behaviour, effect: Effect) -> Response | None:
        await asyncio.sleep(how.wait_before_s)
        if how.before == "429":
            raise Stop(429, "rate_limit", type_="invalid_request_error", retry_after_s=self._options.retry_after_s)
        if how.before == "reset":
            return None
        with self._journal.together():
            status, said = _failed(how.before) if how.before else effect(how.refusal)
            if how.after == "500":
                status, said = _failed("500")
            kept = orjson.dumps({"status": status, "body": said})
            self._journal.remember(key, print_, kept, at=self._now())
        self._made()
        await asyncio.sleep(how.wait_after_s)
        return _answer(how, status, said)

    def _charge(
        self, wanted: Mapping[str, Any], call: int, key: str, refusal: str | None
    ) -> tuple[int, dict[str, Any]]:
        document = {
            "id": f"pi_{secrets.token_hex(12)}",
            "status": "declined" if refusal else "captured",
            "decline_code": refusal,
            "created": int(self._now()),
            **{name: wanted[name] for name in ("amount", "currency", "reference")},
        }
        method = wanted["payment_method"]
        self._journal.add_charge(document, at=self._now(), call=call, key=key, payment_method=method)
        intent = stripe_form.intent(document)
        self._tell("payment_intent.payment_failed" if refusal else "payment_intent.succeeded", intent, wanted)
        if refusal:
            more = {"decline_code": refusal, "payment_intent": intent}
            return 402, stripe_form.error("card_error", "card_declined", **more)
        return 200, intent

    def _give_back(
        self, wanted: Mapping[str, Any], call: int, key: str, refusal: str | None
    ) -> tuple[int, dict[str, Any]]:
        charge = self._journal.charge(wanted["charge"])
        assert charge is not None, "it was there, and nothing takes charges away"
        left = charge[0]["amount"] - self._journal.refunded(wanted["charge"])
        if charge[0]["status"] != "captured" or wanted["amount"] > left:
            code = "amount_too_large" if left else "charge_already_refunded"
            return 400, stripe_form.error("invalid_request_error", code)
        document = {
            "id": f"re_{secrets.token_hex(12)}",
            "status": "failed" if refusal else "succeeded",
            "failure_code": refusal,
            "created": int(self._now()),
            **{name: wanted[name] for name in ("charge", "amount", "reference")},
        }
        self._journal.add_refund(document, at=self._now(), call=call, key=key)
        refund = stripe_form.refund(document)
        self._tell("refund.failed" if refusal else "refund.created", refund, wanted)
        return 200, refund

    def _tell(self, type_: str, document: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        if not self._options.sends_webhooks:
            return
        dice = random.Random(f"{self._options.seed}:webhook:{wanted['reference']}")  # noqa: S311  not a secret
        wait_s = dice.uniform(0, self._options.webhook_delay_s)
        id_, body = stripe_form.event(type_, document, int(self._now()))
        self._journal.add_delivery(id_, body, copies=self._options.webhook_copies, due=self._now() + wait_s)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def stripe_routes(service: StripeService) -> list[Route]:
    """Return the routes that the dialect has."""
    return [
        Route("/v1/payment_intents", service.intents, methods=["POST", "GET"]),
        Route("/v1/refunds", service.refunds, methods=["POST", "GET"]),
    ]


def _failed(failure: str) -> tuple[int, dict[str, Any]]:
    if failure == "402":
        return 402, stripe_form.error("card_error", "payment_method_rejected")
    return 500, stripe_form.error("api_error", "internal")


def _answer(how: Behaviour, status: int, said: dict[str, Any]) -> Response | None:
    if how.after == "reset":
        return None
    if how.after == "garbage":
        return Response(b'{"id": "pi_', status_code=200, media_type="application/json")
    if how.after == "mismatch":
        return _json(status, said | {"metadata": {stripe_form.REFERENCE: "somebody-else"}})
    return _json(status, said)


def _check_key(request: Request) -> None:
    if not request.headers.get("authorization", "").startswith("Bearer sk_test_"):
        raise invalid("api_key_missing", 401)


def _key(request: Request) -> str:
    keys = request.headers.getlist("idempotency-key")
    if len(keys) != 1 or not 1 <= len(keys[0]) <= 255:
        raise invalid("idempotency_key_missing")
    return keys[0]


def _json(status: int, document: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status_code=status, headers=headers, media_type="application/json")


def _refused(stop: Stop) -> Response:
    return _json(stop.status, stripe_form.error(stop.type, stop.code))
