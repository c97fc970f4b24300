"""Who asks, and with which form? What the endpoints for clients read alike, with its errors (RFC 6749, 5.2)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_plus

from paidonce.devstack.issuer.clients import Client, authenticate

#: Fields of one request; a dozen roles are many.
FIELDS_MAX = 64
_REPEATABLE = frozenset({"role"})


class GrantError(Exception):
    """The request is refused; `code` is one of RFC 6749, section 5.2."""

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Form:
    """A form and the client that sent it."""

    client: Client
    fields: Mapping[str, str]
    roles: tuple[str, ...]

    def need(self, name: str) -> str:
        """Return the field `name`; raises GrantError when it is missing."""
        if name not in self.fields:
            raise GrantError("invalid_request", f"{name} is missing")
        return self.fields[name]


def authenticated(authorization: str | None, body: bytes) -> Form:
    """Return the form in `body`, whose client has proved who it is or has no secret; raises GrantError."""
    fields, roles = parsed(body)
    return Form(_client(authorization, fields), fields, roles)


def parsed(body: bytes) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the fields of a form or query, and its roles; raises GrantError."""
    try:
        pairs = parse_qsl(body.decode("ascii"), strict_parsing=bool(body), max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise GrantError("invalid_request", "the body is not a form") from error
    single = [(name, value) for name, value in pairs if name not in _REPEATABLE]
    if len(dict(single)) != len(single):
        raise GrantError("invalid_request", "a parameter is repeated")
    return dict(single), tuple(value for name, value in pairs if name in _REPEATABLE)


def _client(authorization: str | None, fields: Mapping[str, str]) -> Client:
    if authorization is not None and "client_secret" in fields:
        raise GrantError("invalid_request", "the client authenticates in two ways")
    if authorization is not None:
        client = authenticate(*_basic(authorization))
    else:
        client = authenticate(fields.get("client_id", ""), fields.get("client_secret"))
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
