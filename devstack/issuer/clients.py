"""Who may ask the development issuer for tokens? One client a tenant, with a secret that everybody knows."""

import hmac
from dataclasses import dataclass

from paidonce.app.auth.policy import SCOPES

TENANTS = ("acme", "globex")


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client of the client-credentials grant (RFC 6749, section 4.4)."""

    id: str
    secret: str
    tenant: str
    scopes: frozenset[str]


def credentials(tenant: str) -> tuple[str, str]:
    """Return the id and secret of a tenant's development client: they follow from its name, and protect nothing."""
    return f"{tenant}-development", f"{tenant}-development-secret"


def _client(tenant: str) -> Client:
    client_id, secret = credentials(tenant)
    return Client(client_id, secret, tenant, SCOPES)


CLIENTS = {client.id: client for client in map(_client, TENANTS)}


def authenticate(client_id: str, secret: str) -> Client | None:
    """Return the client whose id and secret these are; None when they are nobody's."""
    client = CLIENTS.get(client_id)
    if client is None or not hmac.compare_digest(client.secret.encode(), secret.encode("utf-8", "replace")):
        return None
    return client
