"""Who calls, where the gateway in front of us says so? From its headers to the principal, over mutual TLS only.

The gateway has verified the token; what it writes is held to the same rules as the claims it was written
from (docs/design.md, "Who may call").
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

import structlog

from paidonce.app.auth.claims import AMOUNT_MAX, SUB_CHARS_MAX, short_text, tenant_text
from paidonce.app.auth.principal import Principal
from paidonce.app.auth.verifier import REFUSED
from paidonce.app.errors import InvalidTokenError
from paidonce.app.settings import Settings

SUB, ISSUER, TENANT, SCOPES = "X-User-Id", "X-Issuer", "X-Tenant", "X-Scopes"
ROLES, REFUND_LIMIT = "X-Roles", "X-Refund-Limit"
#: What REFUND_LIMIT says for a token without such a claim, so that nothing at all is another thing.
NO_LIMIT_OF_ITS_OWN = b"default"
#: Where the connection proved to be the gateway's, the ASGI scope has this key (app/api/proof.py).
PROOF = "paidonce.gateway"
#: Visible ASCII, the rest percent-encoded; the words of a list have one blank between them.
_WORD = rb"(?:[!-$&-~]|%[0-9A-Fa-f]{2})+"
_WORDS = re.compile(_WORD + rb"(?: " + _WORD + rb")*")
_AMOUNT = re.compile(rb"0|[1-9][0-9]{0,15}")
_log = structlog.get_logger(__name__)


class Vouched:
    """Takes the gateway's word; one a process."""

    def __init__(self, settings: Settings) -> None:
        tenants = [issuer.tenants for issuer in settings.trusted_issuers()]
        #: whom the trusted issuers may speak for; None: one of them may speak for all
        self._tenants = None if None in tenants else frozenset().union(*(names for names in tenants if names))

    def principal(self, headers: Iterable[tuple[bytes, bytes]], *, proven: bool) -> Principal:
        """Return who calls; `proven` is whether the request's connection showed the gateway's certificate.

        Raises:
            InvalidTokenError: without the proof, or anything is wrong with a header; `reason` is for the log.
        """
        try:
            return self._principal(list(headers), proven=proven)
        except InvalidTokenError as error:
            _log.info("headers refused", reason=error.reason)
            REFUSED.labels(error.reason.partition(":")[0]).inc()
            raise

    def _principal(self, headers: list[tuple[bytes, bytes]], *, proven: bool) -> Principal:
        if not proven:
            raise InvalidTokenError("gateway: the connection did not show its certificate")
        return Principal(
            sub=short_text(_word(headers, SUB), SUB, SUB_CHARS_MAX),
            tenant=tenant_text(_word(headers, TENANT), TENANT, self._tenants),
            scopes=frozenset(_words(headers, SCOPES)),
            roles=frozenset(_words(headers, ROLES)),
            expires_at=None,
            issuer=_word(headers, ISSUER) or "",
            refund_limit=_refund_limit(headers),
        )


def _line(headers: list[tuple[bytes, bytes]], name: str) -> bytes | None:
    lines = [value for key, value in headers if key == name.lower().encode()]
    if len(lines) > 1:
        raise InvalidTokenError(f"{name}: more than one line")
    return lines[0] if lines else None


def _words(headers: list[tuple[bytes, bytes]], name: str) -> list[str]:
    line = _line(headers, name)
    if not line:
        return []
    if not _WORDS.fullmatch(line):
        raise InvalidTokenError(f"{name}: not as a gateway writes it")
    try:
        return [unquote_to_bytes(word).decode() for word in line.split(b" ")]
    except UnicodeDecodeError as error:
        raise InvalidTokenError(f"{name}: not UTF-8") from error


def _word(headers: list[tuple[bytes, bytes]], name: str) -> str | None:
    words = _words(headers, name)
    if len(words) > 1:
        raise InvalidTokenError(f"{name}: more than one word")
    return words[0] if words else None


def _refund_limit(headers: list[tuple[bytes, bytes]]) -> int | None:
    line = _line(headers, REFUND_LIMIT)
    if line == NO_LIMIT_OF_ITS_OWN:
        return None
    if line is None:
        # A gateway that says nothing of it may hide a token's limit, which may be lower than everybody's.
        return 0
    if not _AMOUNT.fullmatch(line) or int(line) > AMOUNT_MAX:
        raise InvalidTokenError(f"{REFUND_LIMIT}: not an integer number of minor units")
    return int(line)
