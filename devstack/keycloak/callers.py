"""How do a client and a person get tokens of Keycloak? By client credentials, and by its login page with PKCE."""

import base64
import hashlib
import html
import re
import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from paidonce.devstack.errors import StackError
from paidonce.devstack.keycloak.server import Keycloak

#: The public client of the realm, and where it is sent back to: nobody listens there, the address is read.
BROWSER_CLIENT, CALLBACK = "back-office", "http://127.0.0.1/callback"
#: Seconds for one answer: the first of each kind loads its classes.
ANSWER_S = 30.0
_FORM = re.compile(r'<form[^>]*\saction="([^"]+)"')


def client_tokens(keycloak: Keycloak, client: str, scope: str = "") -> dict[str, Any]:
    """Return the answer to a client's request by its own credentials; raises StackError when it is refused."""
    form = {"grant_type": "client_credentials", "scope": scope}
    return _tokens(keycloak, form, httpx.BasicAuth(client, keycloak.client_secret))


def person_tokens(keycloak: Keycloak, person: str, scope: str) -> dict[str, Any]:
    """Log a person in as a browser would; return the answer to the code, ID token and refresh token included.

    Raises:
        StackError: the login or the code is refused.
    """
    proof = secrets.token_urlsafe(48)
    code = _code(keycloak, person, scope, hashlib.sha256(proof.encode()).digest())
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": proof}
    return _tokens(keycloak, form | {"client_id": BROWSER_CLIENT, "redirect_uri": CALLBACK}, None)


def _code(keycloak: Keycloak, person: str, scope: str, challenge: bytes) -> str:
    asked = {
        "response_type": "code",
        "client_id": BROWSER_CLIENT,
        "redirect_uri": CALLBACK,
        "scope": scope,
        "state": secrets.token_urlsafe(12),
        "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    with httpx.Client(trust_env=False, timeout=ANSWER_S) as browser:
        page = browser.get(f"{keycloak.issuer}/protocol/openid-connect/auth", params=asked)
        form = _FORM.search(page.text)
        if form is None:
            raise StackError(f"Keycloak shows no login page: {page.status_code}: {page.text[:500]}")
        filled = {"username": person, "password": keycloak.person_password}
        # They are for https only, of which browsers let loopback be an exception, and httpx does not.
        cookies = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
        answer = browser.post(html.unescape(form[1]), data=filled, headers={"Cookie": cookies})
    back = parse_qs(urlsplit(answer.headers.get("location", "")).query)
    if back.get("state") != [asked["state"]] or "code" not in back:
        raise StackError(f"Keycloak does not let {person} in: {answer.status_code}: {back or answer.text[:500]}")
    return back["code"][0]


def _tokens(keycloak: Keycloak, form: dict[str, str], auth: httpx.Auth | None) -> dict[str, Any]:
    with httpx.Client(trust_env=False, timeout=ANSWER_S) as client:
        answer = client.post(f"{keycloak.issuer}/protocol/openid-connect/token", data=form, auth=auth)
    if not answer.is_success:
        raise StackError(f"Keycloak gives no token: {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found
