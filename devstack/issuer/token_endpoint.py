"""What does POST /token answer? An access token, and to a login a refresh token that is good once."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from paidonce.devstack.issuer import access_tokens, codes, cookie, families, grant
from paidonce.devstack.issuer.form import Form, GrantError
from paidonce.devstack.issuer.service import UNCACHED, Service, client_form, service_of

#: One sentence for every reason: who holds a stolen code or token learns nothing from it.
REFUSED = "the code or refresh token is unknown, over, used or revoked: log in again"


async def token(request: Request) -> Response:
    """Answer a token request of any grant."""
    form = await client_form(request)
    match grant.kind(form):
        case "client_credentials":
            return await _answer(service_of(request), form, grant.client_credentials(form), None)
        case "authorization_code":
            return await _of_login(service_of(request), form, _exchange, _brought(form))
        case _:
            return await _of_login(
                service_of(request), form, _refresh, cookie.refresh_token(request, form, "refresh_token")
            )


def _brought(form: Form) -> codes.Exchange:
    return codes.Exchange(form.need("code"), form.client.id, form.need("redirect_uri"), form.need("code_verifier"))


async def _of_login(service: Service, form: Form, use: Any, brought: object) -> Response:
    found = await service.database.run(use, form, brought, service.clock.now())
    if found is None:
        raise GrantError("invalid_grant", REFUSED)
    asked, refresh_token = found
    return await _answer(service, form, asked, refresh_token)


def _exchange(tx: Connection, form: Form, exchange: codes.Exchange, now: datetime) -> tuple[grant.Request, str] | None:
    family = codes.use(tx, exchange, now)
    return None if family is None else (grant.of_family(form, family), families.begin(tx, family, now))


def _refresh(tx: Connection, form: Form, refresh_token: str, now: datetime) -> tuple[grant.Request, str] | None:
    rotated = families.rotate(tx, refresh_token, form.client.id, now)
    # A scope too many rolls all of it back, so that a mistake does not cost the login.
    return None if rotated is None else (grant.of_family(form, rotated[0]), rotated[1])


async def _answer(service: Service, form: Form, asked: grant.Request, refresh_token: str | None) -> Response:
    now = service.clock.now()
    claims = grant.claims(asked, service.iss, now)
    if asked.opaque:
        access_token = await service.database.run(access_tokens.keep, claims, now)
    else:
        access_token = service.keys.current().sign(claims)
    content: dict[str, Any] = {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": asked.ttl_s,
        "scope": claims["scope"],
    }
    if refresh_token and not form.client.cookie:
        content["refresh_token"] = refresh_token
    response = JSONResponse(content, headers=UNCACHED)
    if refresh_token and form.client.cookie:
        cookie.put(response, refresh_token)
    return response
