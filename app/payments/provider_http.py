"""What does each answer of the provider mean? The port of provider.py over HTTP (docs/design.md, "Provider").

| the provider says | we say |
|---|---|
| 201 with the object we asked for | Succeeded, or Refused when it was declined or failed |
| 201 with anything else | NoAnswer: something happened, we cannot tell what |
| 400, 402, 404, with the contract's error object | Rejected |
| 429 | Throttled |
| no connection | NotSent |
| all else | NoAnswer |

422 is "this key was used with another body", so something may exist under our key. 401 and 403 are our
set-up and not the payment's fault, and an error page of a gateway in between is nobody's word. Each is
NoAnswer: asked again, or looked up, and loud, rather than a customer told of a decline that was none.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Self

import httpx
import orjson
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from paidonce.app.clock import Clock, SystemClock
from paidonce.app.messaging import http_call
from paidonce.app.messaging.answers import (
    Answer,
    Finding,
    NoAnswer,
    NotFound,
    NotSent,
    Throttled,
)
from paidonce.app.messaging.http_call import Reply
from paidonce.app.payments.provider import ObjectKind, ProviderCharge, ProviderRefund, Sought
from paidonce.app.payments.provider_objects import answers, definite, one_of, rejected
from paidonce.app.settings import Settings
from paidonce.app.steps import step

log = structlog.get_logger(__name__)

#: Bytes of an answer: an object has under 1 KB, a look-up finds one of them, or shows how many there are.
ANSWER_BYTES_MAX = 65_536

#: The request itself is wrong, now and every time; the provider did nothing.
REJECTING = frozenset({400, 402, 404})

_PATHS: Mapping[ObjectKind, str] = MappingProxyType({"charge": "/v1/charges", "refund": "/v1/refunds"})
_MODELS: Mapping[ObjectKind, type[ProviderCharge | ProviderRefund]] = MappingProxyType(
    {"charge": ProviderCharge, "refund": ProviderRefund}
)


class _Error(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    code: str


class _Errors(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    error: _Error


class HttpProvider:
    """The provider at `settings.provider_url`; one object for a process, on one event loop."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.honours_keys_for = timedelta(seconds=settings.provider_honours_keys_s)
        settles_s = settings.provider_settles_within_s
        self.settles_within = None if settles_s is None else timedelta(seconds=settles_s)
        self._url, self._limit_s = settings.provider_url.rstrip("/"), settings.effect_call_s
        self._http = http_call.client(connections=2 * settings.effect_parallel, keep_alive=True)
        self._clock = clock or SystemClock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @step("provider.charge")
    async def charge(self, key: str, request: bytes) -> Answer:
        """Send a charge under `key`, once."""
        return await self._ask("charge", key, request)

    @step("provider.refund")
    async def refund(self, key: str, request: bytes) -> Answer:
        """Send a refund under `key`, once."""
        return await self._ask("refund", key, request)

    @step("provider.find")
    async def find(self, kind: ObjectKind, sought: Sought) -> Finding:
        """Look up what exists under our reference; it changes nothing there."""
        reference = sought.reference
        request = self._http.build_request("GET", self._url + _PATHS[kind], params={"reference": reference})
        reply = await self._call(request)
        return _found(kind, reference, reply) if isinstance(reply, Reply) else reply

    async def _ask(self, kind: ObjectKind, key: str, body: bytes) -> Answer:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        request = self._http.build_request("POST", self._url + _PATHS[kind], content=body, headers=headers)
        reply = await self._call(request)
        return self._meaning(kind, body, reply) if isinstance(reply, Reply) else reply

    async def _call(self, request: httpx.Request) -> Reply | NotSent | NoAnswer:
        return await http_call.call_once(self._http, request, limit_s=self._limit_s, body_bytes_max=ANSWER_BYTES_MAX)

    def _meaning(self, kind: ObjectKind, body: bytes, reply: Reply) -> Answer:
        if reply.status == 429:
            return Throttled(http_call.retry_after_s(reply.headers, self._clock.now()))
        if reply.status in REJECTING:
            return _turned_away(reply)
        if reply.status != 201:
            return NoAnswer(f"status {reply.status}")
        made = _parsed(kind, reply.body) if reply.complete else None
        if made is None or not answers(kind, body, made):
            log.error("provider_answer_is_not_ours", kind=kind, status=reply.status)
            return NoAnswer("201 without the object that was asked for")
        return definite(made)


def _turned_away(reply: Reply) -> Answer:
    try:
        code = _Errors.model_validate_json(reply.body).error.code
    except ValidationError:
        return NoAnswer(f"status {reply.status} without the contract's error object")
    return rejected(code, reply.status)


def _parsed(kind: ObjectKind, document: bytes) -> ProviderCharge | ProviderRefund | None:
    try:
        return _MODELS[kind].model_validate_json(document)
    except ValidationError:
        return None


def _found(kind: ObjectKind, reference: str, reply: Reply) -> Finding:
    """An empty list is NotFound only when it is surely the provider's own list, and whole."""
    if reply.status != 200 or not reply.complete:
        return NoAnswer(f"look-up: status {reply.status}")
    try:
        listed = orjson.loads(reply.body)["data"]
        made = [_MODELS[kind].model_validate(one) for one in listed]
    except (ValueError, TypeError, KeyError):
        return NoAnswer("look-up: not the contract's list")
    if not isinstance(listed, list) or any(one.reference != reference for one in made):
        return NoAnswer("look-up: not the list of our reference")
    return one_of(kind, reference, [definite(one) for one in made]) if made else NotFound()
