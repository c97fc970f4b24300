"""How does an impatient, careful client send a request? Again and again under one Idempotency-Key.

Each attempt goes to one of the replicas and into the history. A time-out, a broken connection,
a 503 and a "still in progress" mean the same to it: ask again with the same key.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any

import httpx

from paidonce.chaos.history import Outcome, Recorder

#: Seconds that one attempt may take: above the API's own bounded wait for a running duplicate.
ATTEMPT_S = 5.0
#: Seconds after which the client gives up for good: a killed replica is back within a few.
GIVE_UP_S = 30.0
#: Seconds between attempts, at first and at most; Retry-After goes above it.
PAUSE_FIRST_S, PAUSE_MOST_S = 0.05, 1.0
#: Seconds that a replica which took no connection is left alone, as a load balancer would.
ASIDE_S = 0.5
#: Answer headers that belong to the evidence.
KEPT_HEADERS = ("idempotent-replayed", "location", "etag", "retry-after", "content-type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client wants; every attempt at it is the same."""

    kind: str
    tenant: str
    subject: str
    method: str
    path: str
    key: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    #: what the history says was sent, where that is not the body: without its secrets, or in the run's own words
    noted: Mapping[str, Any] | None = None
    #: None: the tenant's token, and the key as Idempotency-Key
    headers: Mapping[str, str] | None = None
    #: refusals after which it is asked again, beside the API's own "still in progress"
    again: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What one attempt brought."""

    outcome: Outcome
    response: httpx.Response | None = None
    #: statuses that mean "later"
    again: Collection[int] = ()

    @property
    def definite(self) -> bool:
        """Whether asking again could bring nothing new."""
        if self.response is not None and self.response.status_code in self.again:
            return False
        return self.outcome == "ok" or (self.outcome == "fail" and self.document.get("code") != "request-in-progress")

    @property
    def document(self) -> dict[str, Any]:
        """The answer's JSON object; empty without one."""
        if self.response is None or "json" not in self.response.headers.get("content-type", ""):
            return {}
        found = self.response.json()
        return found if isinstance(found, dict) else {}

    @property
    def retry_after_s(self) -> float:
        """Seconds that the API asked us to wait."""
        text = self.response.headers.get("retry-after", "") if self.response is not None else ""
        return float(text) if text.isdigit() else 0.0


class Client:
    """Sends requests to several replicas of the API and writes each into the history."""

    def __init__(
        self, http: httpx.AsyncClient, apis: Sequence[str], tokens: Mapping[str, str], recorder: Recorder
    ) -> None:
        self._http = http
        self._apis = apis
        self._tokens = tokens
        self._recorder = recorder
        #: replica -> when it may be asked again, on the monotonic clock
        self._aside: dict[str, float] = {}

    async def attempt(self, request: Request, draw: Random, *, limit_s: float = ATTEMPT_S) -> Reply:
        """Send `request` once, to a replica drawn by `draw`, for at most `limit_s` seconds."""
        api = self._replica(draw)
        number = self._recorder.invoke(
            kind=request.kind,
            tenant=request.tenant,
            subject=request.subject,
            method=request.method,
            path=request.path,
            key=request.key,
            request=request.body if request.noted is None else request.noted,
            api=api,
        )
        try:
            async with asyncio.timeout(limit_s):
                response = await self._http.request(
                    request.method, api + request.path, headers=self._headers(request), json=request.body or None
                )
        except (TimeoutError, httpx.TransportError) as error:
            self._recorder.unanswered(number, type(error).__name__)
            if isinstance(error, httpx.ConnectError):
                self._aside[api] = monotonic() + ASIDE_S
            return Reply("info")
        outcome = _outcome(response.status_code)
        kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        self._recorder.answered(number, outcome, response.status_code, response.content, kept)
        return Reply(outcome, response, request.again)

    async def insist(self, request: Request, draw: Random, *, first_limit_s: float = ATTEMPT_S) -> Reply:
        """Attempt `request` until the answer is definite, or for `GIVE_UP_S` seconds; then the last reply."""
        give_up, pause_s, limit_s = monotonic() + GIVE_UP_S, PAUSE_FIRST_S, first_limit_s
        while True:
            reply = await self.attempt(request, draw, limit_s=limit_s)
            if reply.definite or monotonic() > give_up:
                return reply
            await asyncio.sleep(max(reply.retry_after_s, pause_s * draw.uniform(0.5, 1.0)))
            pause_s, limit_s = min(PAUSE_MOST_S, pause_s * 2), ATTEMPT_S

    def _replica(self, draw: Random) -> str:
        now = monotonic()
        return draw.choice([api for api in self._apis if self._aside.get(api, now) <= now] or self._apis)

    def _headers(self, request: Request) -> dict[str, str]:
        if request.headers is not None:
            return dict(request.headers)
        headers = {"Authorization": f"Bearer {self._tokens[request.tenant]}"}
        return headers | ({"Idempotency-Key": request.key} if request.key else {})


def _outcome(status: int) -> Outcome:
    if status < 300:
        return "ok"
    return "fail" if status < 500 else "info"
