"""What does a person read when a page cannot be shown? One sentence that says what to do."""

from urllib.parse import quote

import structlog
from psycopg import OperationalError as PsycopgError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ExceptionHandler

from paidonce.app import db
from paidonce.app.errors import CommitUnknownError, IssuerUnavailableError, KeySetUnavailableError
from paidonce.console.codes import LoginError
from paidonce.console.desk import desk_of
from paidonce.console.operators import NotAnOperatorError
from paidonce.console.session import ForgedError
from paidonce.console.visit import BadFormError, LoginNeededError
from paidonce.workers.dead_letters import UnknownConsumerError

_log = structlog.get_logger(__name__)


async def _login_needed(request: Request, error: Exception) -> Response:
    assert isinstance(error, LoginNeededError)
    if error.to is not None:
        return RedirectResponse(f"/login?to={quote(error.to, safe='/')}", 303)
    said = "Your login has ended, and nothing was done: log in, and do it again."
    return desk_of(request).pages.plain(401, "Log in", said)


async def _not_an_operator(request: Request, error: Exception) -> Response:
    _log.warning("somebody is no operator", why=str(error))
    desk = desk_of(request)
    said = f"You are logged in, but {error}. Whoever runs the issuer can change that."
    response = desk.pages.plain(403, "This is for operators", said)
    desk.sessions.end(response)
    return response


async def _forged(request: Request, _error: Exception) -> Response:
    _log.warning("form refused", path=request.url.path)
    said = (
        "This form does not come from a page of your login, so nothing was done: go back, load the page, do it again."
    )
    return desk_of(request).pages.plain(403, "Nothing was done", said)


async def _bad_form(request: Request, error: Exception) -> Response:
    return desk_of(request).pages.plain(400, "Nothing was done", f"It could not be read: {error}.")


async def _not_logged_in(request: Request, error: Exception) -> Response:
    _log.warning("login failed", why=str(error))
    return desk_of(request).pages.plain(400, "You are not logged in", f"That did not work: {error}.")


async def _issuer_away(request: Request, _error: Exception) -> Response:
    said = "The issuer cannot be asked, so nobody can tell whether this login is good: try again in a moment."
    return desk_of(request).pages.plain(503, "Nobody can tell", said)


async def _database_away(request: Request, error: Exception) -> Response:
    if not db.is_transient(error):
        raise error  # it answered, and refused: no right, no such table
    _log.warning("database unavailable", cause=type(error).__name__)
    said = "PostgreSQL does not answer, so this page cannot be shown. The overview says more."
    return desk_of(request).pages.plain(503, "PostgreSQL is away", said, log_in=False)


async def _outcome_unknown(request: Request, _error: Exception) -> Response:
    said = "PostgreSQL did not answer the COMMIT, so it may have been done or not: look before you do it again."
    return desk_of(request).pages.plain(503, "Nobody knows whether this was done", said, log_in=False)


async def _said(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = {404: "There is no such thing", 405: "This cannot be done here"}.get(error.status_code, "Nothing was done")
    said = error.detail if error.detail[:1].islower() else "There is no page at this address."
    return desk_of(request).pages.plain(error.status_code, title, said[:1].upper() + said[1:] + ".", log_in=False)


async def _unknown_consumer(request: Request, error: Exception) -> Response:
    return desk_of(request).pages.plain(404, "There is no such thing", str(error), log_in=False)


async def failed(request: Request, _error: Exception) -> Response:
    """Answer for what nobody foresaw."""
    said = "Something failed that nobody foresaw; the console's log has it."
    return desk_of(request).pages.plain(500, "That is our fault", said, log_in=False)


HANDLERS: dict[type[Exception] | int, ExceptionHandler] = {
    LoginNeededError: _login_needed,
    NotAnOperatorError: _not_an_operator,
    ForgedError: _forged,
    BadFormError: _bad_form,
    LoginError: _not_logged_in,
    KeySetUnavailableError: _issuer_away,
    IssuerUnavailableError: _issuer_away,
    CommitUnknownError: _outcome_unknown,
    DBAPIError: _database_away,
    PsycopgError: _database_away,
    UnknownConsumerError: _unknown_consumer,
    HTTPException: _said,
}
