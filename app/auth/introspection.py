"""Whom does this opaque token name? Its issuer is asked, once for all requests of a few seconds.

A yes is kept for seconds, never past the token's end: for so long a revoked token works. A no is kept
for a moment only. While the issuer does not answer, the breaker holds questions back with the back-off of
the key sets, and the answer is 503: nobody knows, so nobody is refused (docs/design.md, "Who may call").
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import httpx
import structlog
from prometheus_client import Counter

from paidonce.app.auth.claims import principal_of
from paidonce.app.auth.introspection_call import IntrospectionCall, IntrospectionFailedError
from paidonce.app.auth.keyset import BACKOFF_FIRST_S, BACKOFF_MOST_S
from paidonce.app.auth.principal import Principal
from paidonce.app.breaker import Breaker
from paidonce.app.clock import Clock
from paidonce.app.errors import ConfigurationError, InvalidTokenError, IssuerUnavailableError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings import Settings

#: Seconds that a no is kept. It is final, but for an issuer whose replicas lag behind each other, and a moment is
#: enough to make a client that hammers with a dead token cost one question in each.
REFUSED_S = 1.0
#: Answers kept, of either kind apart, so that made-up tokens do not push good ones out; about 2 MB.
KEPT_MAX = 4_096
#: Questions under way at once; more are an attack with made-up tokens, and are told to come again.
ASKING_MAX = 64
#: Failures in a row after which nobody asks for a while: one alone may be a connection that the issuer closed.
FAILURES_MOST = 3

INTROSPECTIONS = Counter(
    "paidonce_introspections_total", "Questions to issuers about opaque tokens, by what came of them.", ["outcome"]
)
_log = structlog.get_logger(__name__)


class Answer(NamedTuple):
    """What became of a question."""

    principal: Principal | None = None
    #: why the token is refused; with neither, the issuer could not be asked
    refused: str | None = None


class Kept:
    """Answers of the last moments, the oldest of them let go first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: OrderedDict[bytes, tuple[Answer, float]] = OrderedDict()

    def get(self, digest: bytes) -> Answer | None:
        """Return the answer, if it is still of use."""
        answer, until = self._answers.get(digest, (None, 0.0))
        return answer if self._clock.monotonic() < until else None

    def put(self, digest: bytes, answer: Answer, until: float) -> None:
        """Keep an answer until then, on the monotonic clock."""
        self._answers[digest] = answer, until
        self._answers.move_to_end(digest)
        if len(self._answers) > KEPT_MAX:
            self._answers.popitem(last=False)


class Introspection:
    """The word of one issuer on its opaque tokens; one a process, on its event loop."""

    def __init__(self, issuer: TrustedIssuer, settings: Settings, client: httpx.AsyncClient, clock: Clock) -> None:
        """Ask nothing yet; raises ConfigurationError when it could not be asked safely."""
        if issuer.opaque is None:
            raise ConfigurationError(f"{issuer.issuer}: `opaque` is missing in PAIDONCE_ISSUERS")
        self._issuer, self._settings, self._clock = issuer, settings, clock
        self._call = IntrospectionCall(issuer, issuer.opaque, client)
        self._breaker = Breaker(clock, failures=FAILURES_MOST, open_s=BACKOFF_FIRST_S, open_most_s=BACKOFF_MOST_S)
        self._yes, self._no = Kept(clock), Kept(clock)
        self._asking: dict[bytes, asyncio.Task[Answer]] = {}

    async def principal(self, token: bytes) -> Principal:
        """Return whom a token of this issuer names.

        Raises:
            InvalidTokenError: the issuer says that it is not active, or its claims are not for us.
            IssuerUnavailableError: the issuer cannot be asked.
        """
        digest = sha256(token).digest()
        answer = self._yes.get(digest) or self._no.get(digest) or await self._joined(digest, token)
        if answer.principal is not None:
            return answer.principal
        if answer.refused is not None:
            raise InvalidTokenError(answer.refused)
        raise IssuerUnavailableError

    async def close(self) -> None:
        """End the questions under way."""
        running = set(self._asking.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _joined(self, digest: bytes, token: bytes) -> Answer:
        """Wait for the answer to the question that all requests with this token share."""
        asking = self._asking.get(digest)
        if asking is None:
            if len(self._asking) >= ASKING_MAX or not self._breaker.enter():
                INTROSPECTIONS.labels("held_back").inc()
                return Answer()
            asking = asyncio.create_task(self._ask(digest, token.decode("ascii")), name="auth.introspect")
            self._asking[digest] = asking
            asking.add_done_callback(lambda _task: self._asking.pop(digest, None))
        # A request that gives up does not end the question for the others.
        return await asyncio.shield(asking)

    async def _ask(self, digest: bytes, token: str) -> Answer:
        # The answer's age counts from before the question.
        asked_at, alive = self._clock.monotonic(), None
        try:
            claims = await self._call.ask(token)
            alive = True
        except IntrospectionFailedError as error:
            alive = False
            INTROSPECTIONS.labels("failed").inc()
            _log.warning("issuer not asked", issuer=self._issuer.issuer, reason=str(error))
            return Answer()
        finally:
            self._breaker.report(alive=alive)
        answer = self._judged(claims)
        self._keep(digest, answer, asked_at)
        return answer

    def _judged(self, claims: Mapping[str, Any] | None) -> Answer:
        if claims is None:
            INTROSPECTIONS.labels("inactive").inc()
            return Answer(refused="introspection: not active")
        INTROSPECTIONS.labels("active").inc()
        type_ = claims.get("token_type", "Bearer")
        if not isinstance(type_, str) or type_.lower() != "bearer":
            return Answer(refused="introspection: not a bearer token")
        try:
            now = self._clock.now().timestamp()
            return Answer(principal_of(claims, self._issuer, now, skew_s=self._settings.token_skew_s))
        except InvalidTokenError as error:
            return Answer(refused=f"introspection: {error.reason}")

    def _keep(self, digest: bytes, answer: Answer, asked_at: float) -> None:
        if answer.principal is None:
            self._no.put(digest, answer, asked_at + REFUSED_S)
            return
        assert answer.principal.expires_at is not None  # principal_of asks for one
        left_s = (answer.principal.expires_at - self._clock.now()).total_seconds()
        until = min(asked_at + self._settings.introspection_cache_s, self._clock.monotonic() + left_s)
        self._yes.put(digest, answer, until)
