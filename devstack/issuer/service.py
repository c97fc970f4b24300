"""What does every endpoint of the development issuer have at hand? And how it reads a form and answers."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from paidonce.app.clock import Clock
from paidonce.devstack.issuer.clients import LOOPBACK_ORIGIN, origin_of
from paidonce.devstack.issuer.database import Database
from paidonce.devstack.issuer.form import Form, GrantError, authenticated
from paidonce.devstack.issuer.logins import Logins
from paidonce.devstack.issuer.signing import SigningKeys

#: Bytes of a form.
BODY_BYTES_MAX = 16_384
_FORM = "application/x-www-form-urlencoded"
#: RFC 6749, section 5.1: a token is for the one who asked.
UNCACHED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@dataclass(frozen=True, slots=True)
class Service:
    """The issuer of one process."""

    iss: str
    keys: SigningKeys
    database: Database
    logins: Logins
    redirect_uris: frozenset[str]
    clock: Clock

    @property
    def origin(self) -> str:
        """The origin of our own pages."""
        return origin_of(self.iss)

    def is_page_of_ours(self, origin: str | None) -> bool:
        """Tell whether a browser's `Origin` is one that a login may lead back to."""
        if origin is None:
            return False
        # Compared as a text: a header that is no address is nobody's page, and no error.
        return bool(LOOPBACK_ORIGIN.fullmatch(origin)) or origin in {origin_of(uri) for uri in self.redirect_uris}


def service_of(request: Request) -> Service:
    """Return the issuer that answers this request."""
    found: Service = request.app.state.service
    return found


async def client_form(request: Request) -> Form:
    """Return the request's form and its client; raises GrantError."""
    return authenticated(request.headers.get("authorization"), await body_of(request))


async def body_of(request: Request) -> bytes:
    """Return the body of a form; raises GrantError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise GrantError("invalid_request", f"the body is not {_FORM}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise GrantError("invalid_request", "the body is too long", status=413)
    return body


def refusal(error: GrantError) -> Response:
    """Return the answer to a request that is refused."""
    more = {"WWW-Authenticate": 'Basic realm="paidonce development"'} if error.status == 401 else {}
    more |= {"Retry-After": "1"} if error.status == 503 else {}
    return JSONResponse({"error": error.code, "error_description": str(error)}, error.status, UNCACHED | more)
