"""Where is a browser's refresh token? In a cookie that no script reads and no other site sends.

`__Host-` binds it to this host over TLS (browsers take loopback for safe); `SameSite=Strict` and a known
`Origin` keep other sites' forms away.
"""

from starlette.requests import Request
from starlette.responses import Response

from paidonce.devstack.issuer.families import IDLE
from paidonce.devstack.issuer.form import Form, GrantError
from paidonce.devstack.issuer.service import service_of

NAME = "__Host-paidonce-refresh"


def put(response: Response, token: str) -> None:
    """Give the browser its next refresh token."""
    age_s = int(IDLE.total_seconds())
    response.set_cookie(NAME, token, max_age=age_s, path="/", secure=True, httponly=True, samesite="strict")


def take_away(response: Response) -> None:
    """Make the browser forget its refresh token."""
    response.delete_cookie(NAME, path="/", secure=True, httponly=True, samesite="strict")


def refresh_token(request: Request, form: Form, field: str) -> str:
    """Return the refresh token that came: of a browser's client in the cookie, else in `field`; raises GrantError."""
    if not form.client.cookie:
        return form.need(field)
    if field in form.fields:
        raise GrantError("invalid_request", "this client's refresh token travels in its cookie only")
    if not service_of(request).is_page_of_ours(request.headers.get("origin")):
        raise GrantError("invalid_request", "the cookie is for pages of this client: Origin is missing or another")
    if NAME not in request.cookies:
        raise GrantError("invalid_grant", "there is no login here: begin one at the authorization endpoint")
    return request.cookies[NAME]
