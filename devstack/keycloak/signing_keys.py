"""How are Keycloak's signing keys changed? By its administrators' API, as an operator would."""

from typing import Any

import httpx

from paidonce.devstack.errors import StackError
from paidonce.devstack.keycloak.server import ADMIN, REALM, Keycloak
from paidonce.devstack.person_login import ANSWER_S

PROVIDER_TYPE = "org.keycloak.keys.KeyProvider"


def active(keycloak: Keycloak) -> str:
    """Return the id of the key that signs now."""
    return str(_call(keycloak, "GET", "/keys")["active"]["RS256"])


def rotate(keycloak: Keycloak, *, priority: int) -> str:
    """Add a key, which signs at once if its priority is the highest; return the id of the one that signs now."""
    settings = {"priority": str(priority), "algorithm": "RS256", "keySize": "2048", "active": "true", "enabled": "true"}
    component = {
        "name": f"rotated-{priority}",
        "providerId": "rsa-generated",
        "providerType": PROVIDER_TYPE,
        "parentId": _call(keycloak, "GET", "")["id"],
        "config": {name: [value] for name, value in settings.items()},
    }
    _call(keycloak, "POST", "/components", component)
    return active(keycloak)


def remove(keycloak: Keycloak, kid: str) -> None:
    """Take a key away: it leaves the key set, and its tokens are to die.

    Raises:
        LookupError: there is no such key.
    """
    found = [key["providerId"] for key in _call(keycloak, "GET", "/keys")["keys"] if key["kid"] == kid]
    if not found:
        raise LookupError(f"Keycloak has no key {kid}")
    _call(keycloak, "DELETE", f"/components/{found[0]}")


def _call(keycloak: Keycloak, method: str, path: str, body: Any = None) -> Any:
    with httpx.Client(trust_env=False, timeout=ANSWER_S) as client:
        # An administrator's token lives for a minute: a fresh one each time.
        login = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN}
        login["password"] = keycloak.admin_password
        token = client.post(f"{keycloak.url}/realms/master/protocol/openid-connect/token", data=login)
        if not token.is_success:
            raise StackError(f"Keycloak does not let its administrator in: {token.status_code}: {token.text[:500]}")
        answer = client.request(
            method,
            f"{keycloak.url}/admin/realms/{REALM}{path}",
            headers={"Authorization": f"Bearer {token.json()['access_token']}"},
            json=body,
        )
    if not answer.is_success:
        raise StackError(f"Keycloak refuses {method} {path}: {answer.status_code}: {answer.text[:500]}")
    return answer.json() if answer.content else None
