"""Who is at this browser? The cookie holds the token, and every request holds it against the issuer's keys again.

So a session ends with its token, with a key that was removed, and, where tokens are opaque, with the issuer's word.
"""

import hmac
import secrets
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from paidonce.app.auth.principal import Principal
from paidonce.app.auth.verifier import Verifier
from paidonce.app.clock import Clock
from paidonce.app.errors import InvalidTokenError, MissingTokenError
from paidonce.app.settings import Settings
from paidonce.console import operators
from paidonce.console.codes import LoginError
from paidonce.console.place import Place
from paidonce.console.sealed import COOKIE_BYTES_MAX, Seal

SESSION = "console"
#: Seconds that a cookie lives whose token does not say when it ends.
LIFE_S = 600


class ForgedError(Exception):
    """This form was not sent by a page of this session."""


@dataclass(frozen=True, slots=True)
class Session:
    """An operator at a browser."""

    principal: Principal
    #: is in every form of this session, and in no page of anybody else
    form_token: str


class Sessions:
    """Knows browsers by their cookies; one a process, on its event loop."""

    def __init__(self, settings: Settings, seal: Seal, verifier: Verifier, here: Place, clock: Clock) -> None:
        self._settings, self._seal, self._verifier = settings, seal, verifier
        self._here, self._clock = here, clock
        self._name = here.cookie(SESSION)

    async def of(self, request: Request) -> Session | None:
        """Return the operator at this browser; None: nobody, or no longer.

        Raises:
            NotAnOperatorError: it is somebody else.
            KeySetUnavailableError, IssuerUnavailableError: nobody can tell.
        """
        content = self._seal.open(SESSION, request.cookies.get(self._name))
        if content is None:
            return None
        try:
            principal = await self._verifier.verify([f"Bearer {content['token']}"])
        except (InvalidTokenError, MissingTokenError):
            return None
        operators.check(principal, self._settings)
        return Session(principal, content["form_token"])

    async def admit(self, response: Response, token: str) -> None:
        """Begin the session of whom the token names.

        Raises:
            LoginError: it is not valid, or too large for a cookie.
            NotAnOperatorError: it is no operator's.
            KeySetUnavailableError, IssuerUnavailableError: nobody can tell.
        """
        try:
            principal = await self._verifier.verify([f"Bearer {token}"])
        except (InvalidTokenError, MissingTokenError) as error:
            raise LoginError("the issuer's token is not valid here: the console's log says why") from error
        operators.check(principal, self._settings)
        text = self._seal.close(SESSION, {"token": token, "form_token": secrets.token_urlsafe(32)})
        if len(text) > COOKIE_BYTES_MAX:
            raise LoginError(f"the issuer's token has {len(token)} bytes, too many for a cookie: give it fewer claims")
        self.put(response, self._name, text, age_s=self._left_s(principal))

    def end(self, response: Response) -> None:
        """Make the browser forget."""
        self.forget(response, self._name)

    def check_form(self, request: Request, session: Session, form_token: str) -> None:
        """Take a form only from a page of this session: raises ForgedError."""
        # A browser names the page that posts, always; what names none is no browser.
        if request.headers.get("origin") != self._here.origin:
            raise ForgedError
        if not hmac.compare_digest(form_token.encode(), session.form_token.encode()):
            raise ForgedError

    def put(self, response: Response, name: str, text: str, *, age_s: int) -> None:
        """Give the browser a cookie that no script reads.

        `Lax`: the issuer sends people back from another site, and alerts link to pages; nothing that a GET does
        changes anything.
        """
        response.set_cookie(
            name, text, max_age=age_s, path="/", secure=self._here.secure, httponly=True, samesite="lax"
        )

    def forget(self, response: Response, name: str) -> None:
        """Take a cookie away."""
        response.delete_cookie(name, path="/", secure=self._here.secure, httponly=True, samesite="lax")

    def _left_s(self, principal: Principal) -> int:
        if principal.expires_at is None:
            return LIFE_S
        return max(1, int((principal.expires_at - self._clock.now()).total_seconds()))
