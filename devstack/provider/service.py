"""What does the simulator answer? The provider's side of docs/design.md, "Provider", over HTTP.

Every call is in the journal before anything is done about it, and its answer before it is sent.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from paidonce.app.clock import Clock
from paidonce.devstack.provider import behaviour as behaviours
from paidonce.devstack.provider.behaviour import Behaviour, Failure
from paidonce.devstack.provider.calls import Calls, Stop
from paidonce.devstack.provider.journal import Journal, Kind
from paidonce.devstack.provider.money import ChargeRequest, Money, RefundRequest, fingerprint
from paidonce.devstack.provider.options import Options

Body = TypeVar("Body", bound=BaseModel)
Effect = Callable[[str | None], Any]


class Service:
    """The handlers; `made` is called after each effect, so that its webhook goes out at once."""

    def __init__(self, journal: Journal, options: Options, clock: Clock, made: Callable[[], None]) -> None:
        self._journal, self._options, self._clock, self._made = journal, options, clock, made
        self._money = Money(journal, options, clock)
        self._calls = Calls(journal, clock, _error)
        #: key -> fingerprint of what is running under it now
        self._running: dict[str, str] = {}

    async def charges(self, request: Request) -> Response:
        """`POST /v1/charges`, `GET /v1/charges?reference=`."""
        return await self._calls.answer(request, self._find_charges if request.method == "GET" else self._charge)

    async def refunds(self, request: Request) -> Response:
        """`POST /v1/refunds`, `GET /v1/refunds?reference=`."""
        return await self._calls.answer(request, self._find_refunds if request.method == "GET" else self._refund)

    async def _find_charges(self, request: Request, _call: int, _body: bytes) -> Response:
        return self._find("charge", request)

    async def _find_refunds(self, request: Request, _call: int, _body: bytes) -> Response:
        return self._find("refund", request)

    def _find(self, kind: Kind, request: Request) -> Response:
        reference = request.query_params.get("reference")
        if not reference:
            raise Stop(400, "reference_missing")
        until = self._now() - self._options.lookup_lag_s
        return _json(200, {"data": self._journal.find(kind, reference, until)})

    async def _charge(self, request: Request, call: int, body: bytes) -> Response | None:
        wanted = _parsed(ChargeRequest, body)
        if not behaviours.known(wanted.payment_method):
            raise Stop(400, "payment_method_unknown")
        attempt = self._journal.attempt(call, request.url.path, wanted.reference)
        how = behaviours.of_charge(wanted.payment_method, wanted.reference, attempt, self._options)
        key, print_ = _key(request), fingerprint(request.url.path, body)

        def effect(refusal: str | None) -> Any:
            return self._money.charge(wanted, call=call, key=key, fingerprint=print_, refusal=refusal)

        return await self._under_key(key, print_, how, effect)

    async def _refund(self, request: Request, call: int, body: bytes) -> Response | None:
        wanted = _parsed(RefundRequest, body)
        found = self._journal.charge(wanted.charge)
        if found is None:
            raise Stop(404, "charge_not_found")
        attempt = self._journal.attempt(call, request.url.path, wanted.reference)
        how = behaviours.of_refund(found[1], wanted.reference, attempt, self._options)
        key, print_ = _key(request), fingerprint(request.url.path, body)

        def effect(refusal: str | None) -> Any:
            return self._money.refund(wanted, call=call, key=key, fingerprint=print_, refusal=refusal)

        return await self._under_key(key, print_, how, effect)

    async def _under_key(self, key: str, print_: str, how: Behaviour, effect: Effect) -> Response | None:
        if not self._options.honours_keys:
            return await self._carry_out(how, effect)
        before = self._journal.remembered(key, self._now() - self._options.key_retention_s)
        if print_ != (self._running.get(key) or (before.fingerprint if before else print_)):
            raise Stop(422, "idempotency_key_reused")
        if key in self._running:
            raise Stop(409, "idempotency_key_running")
        if before:
            return _json(201, orjson.loads(before.document), replayed=True)
        self._running[key] = print_
        try:
            return await self._carry_out(how, effect)
        finally:
            del self._running[key]

    async def _carry_out(self, how: Behaviour, effect: Effect) -> Response | None:
        await asyncio.sleep(how.wait_before_s)
        if how.before:
            return self._failed(how.before, {})
        document = effect(how.refusal)
        self._made()
        await asyncio.sleep(how.wait_after_s)
        return self._failed(how.after, document) if how.after else _json(201, document)

    def _failed(self, failure: Failure, document: dict[str, Any]) -> Response | None:
        match failure:
            case "reset":
                return None
            case "500":
                raise Stop(500, "internal")
            case "429":
                raise Stop(429, "too_many_requests", retry_after_s=self._options.retry_after_s)
            case "402":
                raise Stop(402, "payment_method_rejected")
            case "garbage":
                return Response(b'{"id": "ch_', status_code=201, media_type="application/json")
            case "mismatch":
                return _json(201, document | {"reference": "somebody-else"})

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _key(request: Request) -> str:
    keys = request.headers.getlist("idempotency-key")
    if len(keys) != 1 or not 1 <= len(keys[0]) <= 255:
        raise Stop(400, "idempotency_key_missing")
    return keys[0]


def _parsed(model: type[Body], body: bytes) -> Body:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise Stop(400, "body_malformed") from error


def _json(status: int, document: Any, *, replayed: bool = False) -> Response:
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return Response(orjson.dumps(document), status_code=status, headers=headers, media_type="application/json")


def _error(stop: Stop) -> Response:
    return _json(stop.status, {"error": {"code": stop.code}})
