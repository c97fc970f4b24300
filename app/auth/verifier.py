"""Is this caller who it says it is? From the Authorization header to the principal.

The order is fixed, cheap refusals first: one header line, size, form, issuer, key by `kid`,
signature, claims (docs/design.md, "Who may call"). Whatever the parser or the library throws is a 401.
"""

from collections import OrderedDict
from hashlib import sha256

import structlog
from joserfc import jws
from joserfc.jwk import RSAKey
from prometheus_client import Counter

from paidonce.app.auth.claims import principal_of
from paidonce.app.auth.keyset import KeySet
from paidonce.app.auth.principal import Principal
from paidonce.app.auth.token import ALGORITHM, Token, is_opaque, parse
from paidonce.app.auth.trust import Trust
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.errors import InvalidTokenError, MissingTokenError
from paidonce.app.settings import Settings

#: Verified tokens kept: about 2 MB. A client reuses its token for minutes, and the check costs more than the payment.
VERIFIED_MAX = 4_096
REFUSED = Counter("paidonce_tokens_refused_total", "Tokens answered 401, by the part that was wrong.", ["part"])
_REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)
_log = structlog.get_logger(__name__)


class Verifier:
    """Checks the bearer tokens of the trusted issuers; one a process, on its event loop."""

    def __init__(self, settings: Settings, trust: Trust, clock: Clock | None = None) -> None:
        self._skew_s = settings.token_skew_s
        self._bytes_max = settings.token_bytes_max
        self._clock = clock or SystemClock()
        self._trust = trust
        #: digest of a token -> whom it names, and the keys that vouch for it
        self._verified: OrderedDict[bytes, tuple[Principal, KeySet]] = OrderedDict()
        self._generation = trust.generation

    async def verify(self, authorization_headers: list[bytes] | list[str]) -> Principal:
        """Return who calls; `authorization_headers` are the values of every Authorization line of the request.

        Raises:
            MissingTokenError: there is no such line, or it is of another scheme.
            InvalidTokenError: anything is wrong with the line or the token; `reason` is for the log.
            KeySetUnavailableError: no key set is known, so nobody can tell.
            IssuerUnavailableError: the token is opaque, and its issuer cannot be asked.
        """
        try:
            return await self._principal(_bearer(authorization_headers))
        except InvalidTokenError as error:
            _log.info("token refused", reason=error.reason)
            # What stands before the colon is a word of ours; behind it may be the sender's.
            REFUSED.labels(error.reason.partition(":")[0]).inc()
            raise

    async def _principal(self, raw: bytes) -> Principal:
        if is_opaque(raw, bytes_max=self._bytes_max):
            return await self._trust.introspection(raw).principal(raw)
        digest = sha256(raw).digest()
        principal = self._remembered(digest)
        if principal is None:
            token = parse(raw, bytes_max=self._bytes_max)
            issuer, keys = self._trust.issuer(token.payload.get("iss"))
            check_signature(token, await keys.key(token.kid))
            now = self._clock.now().timestamp()
            principal = principal_of(token.payload, issuer, now, skew_s=self._skew_s)
            self._remember(digest, principal, keys)
        return principal

    def _remembered(self, digest: bytes) -> Principal | None:
        if self._generation != self._trust.generation:
            self._verified.clear()
            self._generation = self._trust.generation
        principal, keys = self._verified.get(digest, (None, None))
        if principal is None or keys is None:
            return None
        assert principal.expires_at is not None  # every token has one
        if self._clock.now() >= principal.expires_at or not keys.usable():
            del self._verified[digest]
            return None
        self._verified.move_to_end(digest)
        return principal

    def _remember(self, digest: bytes, principal: Principal, keys: KeySet) -> None:
        self._verified[digest] = principal, keys
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)


def check_signature(token: Token, key: RSAKey) -> None:
    """Hold the token's signature against the key; raises InvalidTokenError."""
    try:
        jws.deserialize_compact(token.raw, key, registry=_REGISTRY)
    except Exception as error:  # a library that fails on a token, however, has not accepted it
        raise InvalidTokenError(f"signature: {type(error).__name__}") from error


def _bearer(lines: list[bytes] | list[str]) -> bytes:
    if not lines:
        raise MissingTokenError
    if len(lines) > 1:
        raise InvalidTokenError("more than one Authorization line")
    line = lines[0]
    # Blanks around a value are not part of it (RFC 9110, section 5.5); the HTTP parser leaves those at its end.
    value = (line if isinstance(line, bytes) else line.encode("utf-8", "replace")).strip(b" \t")
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"bearer":
        raise MissingTokenError
    return token.lstrip(b" ")
