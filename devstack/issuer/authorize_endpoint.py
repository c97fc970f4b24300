"""What does /authorize answer? The login page, and after it the way back to the client with a code."""

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paidonce.app.clock import new_id
from paidonce.devstack.issuer import codes, login_page
from paidonce.devstack.issuer.authorization import Authorization, NowhereError, ReturnError, back, read
from paidonce.devstack.issuer.families import Family
from paidonce.devstack.issuer.form import GrantError, parsed
from paidonce.devstack.issuer.logins import TooManyLoginsError
from paidonce.devstack.issuer.people import Person
from paidonce.devstack.issuer.service import Service, body_of, service_of

_log = structlog.get_logger(__name__)


async def authorize(request: Request) -> Response:
    """Show the page to a GET, try the login that a POST brings."""
    service = service_of(request)
    try:
        raw = await body_of(request) if request.method == "POST" else request.url.query.encode("ascii", "replace")
        fields, _ = parsed(raw)
        asked = read(fields, service.redirect_uris, service.iss)
        if request.method != "POST":
            return login_page.form(asked.fields, asked.client.id, asked.scopes)
        _check_from_here(request, service)
        return await _tried(service, asked, fields, request.client.host if request.client else "")
    except NowhereError as error:
        return login_page.refused(str(error))
    except GrantError as error:
        return login_page.refused(str(error), error.status)
    except ReturnError as error:
        return _redirect(error.location)


def _check_from_here(request: Request, service: Service) -> None:
    """Another site's form must not log a person in as somebody else; a browser always names the page that posts."""
    origin = request.headers.get("origin")
    if origin is not None and origin != service.origin:
        raise NowhereError("this form was sent by another site: begin again at the program that you want to use")


async def _tried(service: Service, asked: Authorization, fields: dict[str, str], address: str) -> Response:
    name = fields.get("username", "")
    try:
        person = await service.logins.person(service.database, name, fields.get("password", ""), address)
    except TooManyLoginsError:
        _log.warning("logins limited", address=address)
        answer = _again(asked, name, "Too many attempts: wait a minute.", 429)
        answer.headers["Retry-After"] = "60"
        return answer
    if person is None:
        _log.warning("login refused", address=address, client_id=asked.client.id)
        return _again(asked, name, "This name and password do not belong together.", 401)
    code = await service.database.run(
        codes.issue,
        _family(asked, person),
        redirect_uri=asked.redirect_uri,
        challenge=asked.challenge,
        now=service.clock.now(),
    )
    return _redirect(back(asked.redirect_uri, asked.state, service.iss, code=code))


def _again(asked: Authorization, name: str, wrong: str, status: int) -> Response:
    return login_page.form(asked.fields, asked.client.id, asked.scopes, name=name, wrong=wrong, status=status)


def _family(asked: Authorization, person: Person) -> Family:
    return Family(new_id(), asked.client.id, person.name, person.tenant, asked.scopes, person.roles)


def _redirect(location: str) -> Response:
    # 303: the password is not posted on to the client.
    return RedirectResponse(location, 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
