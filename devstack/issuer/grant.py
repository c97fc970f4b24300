"""Which token does this request get, and what does it say? Client credentials and logins (RFC 6749; RFC 9068).

Beyond the RFCs, for development: with client credentials `sub` names the caller, `role` (may repeat) its
roles, `ttl` the token's seconds; `token_format=opaque` asks for a token that says nothing by itself.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paidonce.app.clock import new_id
from paidonce.devstack.issuer.clients import Client
from paidonce.devstack.issuer.configuration import TTL_MAX_S, TTL_S
from paidonce.devstack.issuer.families import Family
from paidonce.devstack.issuer.form import Form, GrantError

#: Every API of the stack is one audience.
AUDIENCE = "paidonce"
KINDS = ("authorization_code", "refresh_token", "client_credentials")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for, checked."""

    client: Client
    tenant: str
    sub: str
    scopes: tuple[str, ...]
    roles: tuple[str, ...]
    ttl_s: int = TTL_S
    #: the login that it follows from; None: the client speaks for itself
    family_id: UUID | None = None
    opaque: bool = False


def kind(form: Form) -> str:
    """Return the grant type that is asked for, one of KINDS; raises GrantError."""
    if form.need("grant_type") not in KINDS:
        raise GrantError("unsupported_grant_type", f"this issuer grants {', '.join(KINDS)}")
    return form.fields["grant_type"]


def client_credentials(form: Form) -> Request:
    """Return what a client asks for in its own name; raises GrantError."""
    client = form.client
    if client.tenant is None:
        raise GrantError("unauthorized_client", "this client speaks for nobody by itself: let a person log in")
    scopes = narrowed(form.fields.get("scope", ""), client.scopes)
    return Request(client, client.tenant, _sub(form, client), scopes, form.roles, _ttl_s(form), opaque=_opaque(form))


def of_family(form: Form, family: Family) -> Request:
    """Return what a login's client asks for: no more than the login allowed; raises GrantError."""
    scopes = narrowed(form.fields.get("scope", ""), family.scopes)
    return Request(
        form.client, family.tenant, family.sub, scopes, family.roles, family_id=family.id, opaque=_opaque(form)
    )


def claims(request: Request, iss: str, now: datetime) -> dict[str, Any]:
    """Return the claims of the token for `request`, issued at `now` (RFC 9068, section 2.2)."""
    issued = int(now.timestamp())
    return {
        "iss": iss,
        "aud": AUDIENCE,
        "sub": request.sub,
        "tenant": request.tenant,
        "scope": " ".join(request.scopes),
        "roles": list(request.roles),
        "iat": issued,
        "nbf": issued,
        "exp": issued + request.ttl_s,
        "jti": str(new_id()),
        "client_id": request.client.id,
    } | ({"sid": str(request.family_id)} if request.family_id else {})


def narrowed(asked: str, allowed: Collection[str]) -> tuple[str, ...]:
    """Return the scopes of the text `asked`, by default all that are allowed; raises GrantError for any other."""
    scopes = asked.split()
    if not set(scopes) <= set(allowed):
        raise GrantError("invalid_scope", f"the scopes are {' '.join(sorted(allowed))}")
    return tuple(scopes or sorted(allowed))


def _sub(form: Form, client: Client) -> str:
    sub = form.fields.get("sub", client.id)
    if not 0 < len(sub) <= 255 or not sub.isprintable():
        raise GrantError("invalid_request", "sub has 1 to 255 printable characters")
    return sub


def _ttl_s(form: Form) -> int:
    text = form.fields.get("ttl", str(TTL_S))
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= TTL_MAX_S):
        raise GrantError("invalid_request", f"ttl is 1 to {TTL_MAX_S} seconds")
    return int(text)


def _opaque(form: Form) -> bool:
    name = form.fields.get("token_format", "jwt")
    if name not in ("jwt", "opaque"):
        raise GrantError("invalid_request", "token_format is jwt or opaque")
    return name == "opaque"
