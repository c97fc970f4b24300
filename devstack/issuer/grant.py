"""Which token does this request get? The client-credentials grant, with its errors (RFC 6749, 4.4 and 5.2).

Beyond the RFC, for development: `sub` names the caller, `role` (may repeat) its roles, `ttl` the
token's seconds.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from paidonce.app.clock import new_id
from paidonce.devstack.issuer.clients import Client, authenticate
from paidonce.devstack.issuer.configuration import TTL_MAX_S, TTL_S

#: Every API of the stack is one audience.
AUDIENCE = "paidonce"
#: Fields of one request; a dozen roles are many.
FIELDS_MAX = 64
_REPEATABLE = frozenset({"role"})


class GrantError(Exception):
    """The request gets no token; `code` is one of RFC 6749, section 5.2."""

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for, checked."""

    client: Client
    sub: str
    scopes: tuple[str, ...]
    roles: tuple[str, ...]
    ttl_s: int


def read(authorization: str | None, body: bytes) -> Request:
    """Return the request in the form `body`; raises GrantError."""
    fields, roles = _fields(body)
    client = _client(authorization, fields)
    if "grant_type" not in fields:
        raise GrantError("invalid_request", "grant_type is missing")
    if fields["grant_type"] != "client_credentials":
        raise GrantError("unsupported_grant_type", "this issuer grants client_credentials only")
    return Request(client, _sub(fields, client), _scopes(fields, client), roles, _ttl_s(fields))


def claims(request: Request, iss: str, now: datetime) -> dict[str, Any]:
    """Return the claims of the token for `request`, issued at `now` (RFC 9068, section 2.2)."""
    issued = int(now.timestamp())
    return {
        "iss": iss,
        "aud": AUDIENCE,
        "sub": request.sub,
        "tenant": request.client.tenant,
        "scope": " ".join(request.scopes),
        "roles": list(request.roles),
        "iat": issued,
        "nbf": issued,
        "exp": issued + request.ttl_s,
        "jti": str(new_id()),
        "client_id": request.client.id,
    }


def _fields(body: bytes) -> tuple[dict[str, str], tuple[str, ...]]:
    try:
        pairs = parse_qsl(body.decode("ascii"), strict_parsing=bool(body), max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise GrantError("invalid_request", "the body is not a form") from error
    single = [(name, value) for name, value in pairs if name not in _REPEATABLE]
    if len(dict(single)) != len(single):
        raise GrantError("invalid_request", "a parameter is repeated")
    return dict(single), tuple(value for name, value in pairs if name in _REPEATABLE)


def _client(authorization: str | None, fields: dict[str, str]) -> Client:
    if authorization is not None and "client_secret" in fields:
        raise GrantError("invalid_request", "the client authenticates in two ways")
    if authorization is not None:
        client_id, secret = _basic(authorization)
    else:
        client_id, secret = fields.get("client_id", ""), fields.get("client_secret", "")
    client = authenticate(client_id, secret)
    if client is None:
        raise GrantError("invalid_client", "no such client, or another secret", status=401)
    return client


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        pair = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        pair = ""
    client_id, _, secret = pair.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


def _sub(fields: dict[str, str], client: Client) -> str:
    sub = fields.get("sub", client.id)
    if not 0 < len(sub) <= 255 or not sub.isprintable():
        raise GrantError("invalid_request", "sub has 1 to 255 printable characters")
    return sub


def _scopes(fields: dict[str, str], client: Client) -> tuple[str, ...]:
    asked = fields.get("scope", "").split()
    if not set(asked) <= client.scopes:
        raise GrantError("invalid_scope", f"this client has the scopes {' '.join(sorted(client.scopes))}")
    return tuple(asked or sorted(client.scopes))


def _ttl_s(fields: dict[str, str]) -> int:
    text = fields.get("ttl", str(TTL_S))
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= TTL_MAX_S):
        raise GrantError("invalid_request", f"ttl is 1 to {TTL_MAX_S} seconds")
    return int(text)
