"""How do a client and a person get tokens of Keycloak? By client credentials, and by its login page with PKCE."""

from typing import Any

import httpx

from paidonce.devstack.errors import StackError
from paidonce.devstack.keycloak.server import Keycloak
from paidonce.devstack.person_login import ANSWER_S, Door, log_in

#: The realm's public client.
BROWSER_CLIENT = "back-office"


def client_tokens(keycloak: Keycloak, client: str, scope: str = "") -> dict[str, Any]:
    """Return the answer to a client's request by its own credentials; raises StackError when it is refused."""
    form = {"grant_type": "client_credentials", "scope": scope}
    auth = httpx.BasicAuth(client, keycloak.client_secret)
    answer = httpx.post(f"{_endpoints(keycloak)}/token", data=form, auth=auth, trust_env=False, timeout=ANSWER_S)
    if not answer.is_success:
        raise StackError(f"Keycloak gives no token: {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found


def person_tokens(keycloak: Keycloak, person: str, scope: str) -> dict[str, Any]:
    """Log a person in as a browser would; return the answer to the code, ID token and refresh token included.

    Raises:
        StackError: the login or the code is refused.
    """
    endpoints = _endpoints(keycloak)
    door = Door(f"{endpoints}/auth", f"{endpoints}/token", BROWSER_CLIENT, keycloak.issuer)
    return log_in(door, person, keycloak.person_password, scope)


def _endpoints(keycloak: Keycloak) -> str:
    return f"{keycloak.issuer}/protocol/openid-connect"
