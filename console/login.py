"""How does somebody come in and go out? To the issuer and back with a code; what is between is in a cookie."""

import hmac
import secrets

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paidonce.console.codes import LoginError
from paidonce.console.desk import Desk, desk_of
from paidonce.console.visit import Visit

LOGIN = "login"
#: Seconds for name and password.
LOGIN_S = 600
#: Characters of the page that somebody wanted to see.
TO_CHARS_MAX = 512
_log = structlog.get_logger(__name__)


async def login(request: Request) -> Response:
    """Send the browser to the issuer."""
    desk, to = desk_of(request), request.query_params.get("to", "/")
    state, proof = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    response = RedirectResponse(await desk.codes.question(state, proof), 303)
    content = {"state": state, "proof": proof, "to": to if is_here(to) else "/", "until": _now(desk) + LOGIN_S}
    desk.sessions.put(response, desk.here.cookie(LOGIN), desk.seal.close(LOGIN, content), age_s=LOGIN_S)
    return response


async def callback(request: Request) -> Response:
    """Take the issuer's answer, and begin the session of whom it names."""
    desk, query = desk_of(request), request.query_params
    begun = desk.seal.open(LOGIN, request.cookies.get(desk.here.cookie(LOGIN)))
    if begun is None or begun["until"] < _now(desk):
        raise LoginError("this browser has not begun to log in, or too long ago")
    if not hmac.compare_digest(query.get("state", "").encode(), begun["state"].encode()):
        raise LoginError("this answer belongs to another login")
    if "code" not in query:
        raise LoginError("the issuer did not let you in")
    token = await desk.codes.change(query["code"], begun["proof"], query.get("iss"))
    response = RedirectResponse(begun["to"], 303)
    await desk.sessions.admit(response, token)
    desk.sessions.forget(response, desk.here.cookie(LOGIN))
    _log.info("operator logged in")
    return response


def logout(desk: Desk, _visit: Visit) -> Response:
    """End the session."""
    response = desk.pages.plain(200, "You are logged out", "This browser holds nothing of the console any more.")
    desk.sessions.end(response)
    return response


def is_here(to: str) -> bool:
    """Tell whether `to` is a page of the console, and not another site's however a browser reads it."""
    plain = to.isascii() and to.isprintable() and "\\" not in to and len(to) <= TO_CHARS_MAX
    return plain and to.startswith("/") and not to.startswith("//")


def _now(desk: Desk) -> float:
    return desk.clock.now().timestamp()
