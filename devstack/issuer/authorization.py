"""May this client send a person here, and back with a code? The authorization request (RFC 6749, 4.1.1; RFC 7636).

A wrong client or address is shown to the person and leads nowhere; whatever else is wrong is told to the
client at its address, with `iss` (RFC 9207).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from paidonce.devstack.issuer.clients import CLIENTS, Client, may_return_to
from paidonce.devstack.issuer.form import GrantError
from paidonce.devstack.issuer.grant import narrowed

#: base64url of a SHA-256, without padding.
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
STATE_CHARS_MAX = 512
FIELDS = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
)


class NowhereError(Exception):
    """The request names no client, or no address of it: the message is for the person."""


class ReturnError(Exception):
    """The request is wrong; `location` tells it to the client."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location


@dataclass(frozen=True, slots=True)
class Authorization:
    """A request to log in, checked."""

    client: Client
    redirect_uri: str
    state: str | None
    scopes: tuple[str, ...]
    challenge: str
    #: what came, for the form of the login page
    fields: Mapping[str, str]


def read(fields: Mapping[str, str], redirect_uris: frozenset[str], iss: str) -> Authorization:
    """Return the authorization request in `fields`.

    Raises:
        NowhereError: nobody can be told but the person.
        ReturnError: the client is told.
    """
    client = CLIENTS.get(fields.get("client_id", ""))
    if client is None or not client.logs_in:
        raise NowhereError("client_id names no client that may ask people to log in")
    redirect_uri = fields.get("redirect_uri", "")
    if not may_return_to(redirect_uri, redirect_uris):
        raise NowhereError("redirect_uri is none that this client may use (PAIDONCE_ISSUER_REDIRECT_URIS)")
    state = fields.get("state")
    try:
        scopes = _checked(fields, client)
    except GrantError as error:
        raise ReturnError(back(redirect_uri, state, iss, error=error.code, error_description=str(error))) from error
    asked = {name: fields[name] for name in FIELDS if name in fields}
    return Authorization(client, redirect_uri, state, scopes, fields["code_challenge"], asked)


def back(redirect_uri: str, state: str | None, iss: str, **answer: str) -> str:
    """Return the address at which the client gets `answer`."""
    query = urlencode(answer | ({"state": state} if state is not None else {}) | {"iss": iss})
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}"


def _checked(fields: Mapping[str, str], client: Client) -> tuple[str, ...]:
    if fields.get("response_type") != "code":
        raise GrantError("unsupported_response_type", "response_type is code")
    if len(fields.get("state", "")) > STATE_CHARS_MAX:
        raise GrantError("invalid_request", f"state has {STATE_CHARS_MAX} characters at most")
    # RFC 7636 lets a missing method mean `plain`, which protects nothing.
    if fields.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(fields.get("code_challenge", "")):
        raise GrantError("invalid_request", "PKCE is needed: code_challenge_method=S256 and its code_challenge")
    return narrowed(fields.get("scope", ""), client.scopes)
