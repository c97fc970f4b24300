"""How does a person get a token? By the issuer's login page, a code and PKCE (RFC 6749, RFC 7636), as in a browser.

The page is whatever the issuer shows: its first form is filled in as it came. Works at the development issuer and at
Keycloak alike.
"""

import base64
import hashlib
import secrets
import ssl
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

from paidonce.devstack.errors import StackError

#: Where the person is sent back to: nobody listens there, the address is read.
CALLBACK = "http://127.0.0.1:1/callback"
#: Seconds for one answer: a password takes a processor's time, and Keycloak's first page loads its classes.
ANSWER_S = 30.0


@dataclass(frozen=True)
class Door:
    """Where a public client lets people log in."""

    authorize_url: str
    token_url: str
    client_id: str
    #: `iss` of the answer (RFC 9207)
    issuer: str


class _Form(HTMLParser):
    """The first form of a page: where it goes, and what it brings along."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.hidden: dict[str, str] = {}
        self._over = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read one tag."""
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = found.get("action", "")
        elif tag == "input" and found.get("type") == "hidden" and self.action is not None and not self._over:
            self.hidden[found.get("name", "")] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Leave the form."""
        self._over = self._over or tag == "form"


def log_in(door: Door, name: str, password: str, scope: str = "") -> dict[str, Any]:
    """Return the answer to the code: access token, refresh token and what else the issuer gives.

    Raises:
        StackError: the login or the code is refused; says what the issuer answered.
        httpx.HTTPError: it does not answer.
    """
    proof = secrets.token_urlsafe(48)
    # The machine's own trust store, as the verifier has it.
    with httpx.Client(verify=ssl.create_default_context(), trust_env=False, timeout=ANSWER_S) as browser:
        form = {
            "grant_type": "authorization_code",
            "code": _code(browser, door, (name, password), scope, proof),
            "code_verifier": proof,
            "client_id": door.client_id,
            "redirect_uri": CALLBACK,
        }
        answer = browser.post(door.token_url, data=form)
    if not answer.is_success:
        raise StackError(f"{door.issuer} gives no token: {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found


def _code(browser: httpx.Client, door: Door, credentials: tuple[str, str], scope: str, proof: str) -> str:
    name, password = credentials
    asked = {
        "response_type": "code",
        "client_id": door.client_id,
        "redirect_uri": CALLBACK,
        "state": secrets.token_urlsafe(12),
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(proof.encode()).digest()).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    } | ({"scope": scope} if scope else {})
    page = browser.get(door.authorize_url, params=asked)
    form = _Form(page.text)
    if form.action is None:
        raise StackError(f"{door.issuer} shows no login page: {page.status_code}: {page.text[:500]}")
    # Cookies for https only: of that browsers let loopback be an exception, and httpx does not.
    cookies = "; ".join(f"{key}={value}" for key, value in page.cookies.items())
    answer = browser.post(
        urljoin(str(page.url), form.action),
        data=form.hidden | {"username": name, "password": password},
        headers={"Cookie": cookies} if cookies else {},
    )
    back = dict(parse_qsl(urlsplit(answer.headers.get("location", "")).query))
    if back.get("state") != asked["state"] or back.get("iss") != door.issuer or "code" not in back:
        raise StackError(f"{door.issuer} does not let {name} in: {answer.status_code}: {back or answer.text[:500]}")
    return str(back["code"])
