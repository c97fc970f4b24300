"""What do POST /revoke (RFC 7009) and /introspect (RFC 7662) answer? The end of a token, and whether it has come."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from paidonce.devstack.issuer import access_tokens, cookie, families
from paidonce.devstack.issuer.clients import Client
from paidonce.devstack.issuer.form import GrantError
from paidonce.devstack.issuer.secret_texts import OPAQUE, REFRESH
from paidonce.devstack.issuer.service import UNCACHED, Service, client_form, service_of

INACTIVE = {"active": False}


async def revoke(request: Request) -> Response:
    """End a token; of a refresh token, the whole login. A token that is none is 200 too: it is over in any case."""
    form, service = await client_form(request), service_of(request)
    now = service.clock.now()
    by_cookie = form.client.cookie and "token" not in form.fields
    token = cookie.refresh_token(request, form, "token") if by_cookie else form.need("token")
    if token.startswith(REFRESH):
        await service.database.run(families.end, token, form.client.id, now)
    else:
        claims = await _claims(service, token)
        if claims is not None:
            _check_owner(claims, form.client)
            await service.database.run(access_tokens.revoke, claims, now)
    response = Response(status_code=200, headers=UNCACHED)
    if by_cookie:
        cookie.take_away(response)
    return response


async def introspect(request: Request) -> Response:
    """Tell what a token says, to the API and to the client that it was given to; to others every token is inactive."""
    form, service = await client_form(request), service_of(request)
    if form.client.secret is None:
        raise GrantError("unauthorized_client", "introspection is for clients with a secret")
    token = form.need("token")
    if token.startswith(REFRESH):
        said = await service.database.run(_refresh_token_says, token, form.client.id, service.clock.now())
    else:
        said = await _access_token_says(service, token, form.client)
    return JSONResponse(said, headers=UNCACHED)


async def _access_token_says(service: Service, token: str, client: Client) -> dict[str, Any]:
    claims = await _claims(service, token)
    if claims is None or not (client.introspects or claims["client_id"] == client.id):
        return INACTIVE
    now = service.clock.now()
    if service.database.there:
        active = await service.database.run(access_tokens.active, claims, now)
    else:
        active = claims["exp"] > now.timestamp()  # without a database nothing was revoked
    return {**claims, "active": True, "token_type": "Bearer"} if active else INACTIVE


def _refresh_token_says(tx: Connection, token: str, client_id: str, now: datetime) -> dict[str, Any]:
    """Never to the API: there, it could be taken for an access token."""
    found = families.usable(tx, token, client_id, now)
    if found is None:
        return INACTIVE
    family, expires_at = found
    return {
        "active": True,
        "typ": "Refresh",
        "client_id": family.client_id,
        "sub": family.sub,
        "scope": " ".join(family.scopes),
        "exp": int(expires_at.timestamp()),
    }


async def _claims(service: Service, token: str) -> Mapping[str, Any] | None:
    """Return what a well-signed or known access token of ours says; None: it is none."""
    if token.startswith(OPAQUE):
        return await service.database.run(access_tokens.claims_of, token)
    return service.keys.claims(token, service.iss)


def _check_owner(claims: Mapping[str, Any], client: Client) -> None:
    if claims["client_id"] != client.id:
        raise GrantError("unauthorized_client", "this token was given to another client")
