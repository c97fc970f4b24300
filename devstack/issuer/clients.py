"""Who may ask the development issuer for tokens? A few clients, with secrets that everybody knows.

One a tenant for servers, one for browsers, one for programs on a person's machine and one for the console, which have
no secret (PKCE is theirs), and the API itself, which asks about opaque tokens.
"""

import hmac
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from paidonce.app.auth.policy import SCOPES

TENANTS = ("acme", "globex")
#: Whose people run the installation; no merchant, and no client speaks for it.
OPERATIONS = "operations"
#: The client of pages in a browser: its refresh token is a cookie that no script can read.
BROWSER = "paidonce-browser"
#: The client of programs: theirs is in the body.
NATIVE = "paidonce-native"
#: The console: its tokens have no scope, and so no right at the API but what a role gives.
CONSOLE = "paidonce-console"
#: The API, as the one who asks about tokens.
API = "paidonce-api"
#: RFC 8252, section 7.3: a program on a person's machine takes any port that is free, so the port is not compared.
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "[::1]"})
#: … and of its pages, as a browser writes it in `Origin`: without the port, where that is 80.
LOOPBACK_ORIGIN = re.compile(r"http://(127\.0\.0\.1|\[::1\])(:[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client."""

    id: str
    #: None: a public client, which proves itself by PKCE alone
    secret: str | None
    #: whom its client credentials speak for; None: it has none
    tenant: str | None = None
    scopes: frozenset[str] = frozenset()
    #: its refresh token travels as a cookie
    cookie: bool = False
    #: whether it may send people here to log in, and have them come back
    logs_in: bool = False
    #: it may ask about everybody's access tokens
    introspects: bool = False


def credentials(tenant: str) -> tuple[str, str]:
    """Return the id and secret of a tenant's development client: they follow from its name, and protect nothing."""
    return f"{tenant}-development", f"{tenant}-development-secret"


def api_credentials() -> tuple[str, str]:
    """Return the id and secret under which the API introspects; they protect nothing either."""
    return API, "paidonce-api-development-secret"


def _client(tenant: str) -> Client:
    client_id, secret = credentials(tenant)
    return Client(client_id, secret, tenant, SCOPES)


_ALL = (
    *map(_client, TENANTS),
    Client(BROWSER, None, scopes=SCOPES, cookie=True, logs_in=True),
    Client(NATIVE, None, scopes=SCOPES, logs_in=True),
    Client(CONSOLE, None, logs_in=True),
    Client(*api_credentials(), introspects=True),
)
CLIENTS = {client.id: client for client in _ALL}


def authenticate(client_id: str, secret: str | None) -> Client | None:
    """Return the client whose id and secret these are, None standing for no secret; None when they are nobody's."""
    client = CLIENTS.get(client_id)
    if client is None or (client.secret is None) is not (secret is None):
        return None
    if client.secret is None or secret is None:
        return client
    return client if hmac.compare_digest(client.secret.encode(), secret.encode("utf-8", "replace")) else None


def may_return_to(redirect_uri: str, allowed: frozenset[str]) -> bool:
    """Tell whether a login may lead there: to one of `allowed`, or to /callback on loopback, whatever its port."""
    if redirect_uri in allowed:
        return True
    try:
        parts = urlsplit(redirect_uri)
        host, port = parts.netloc.rsplit(":", 1)
    except ValueError:
        return False
    plain = parts.geturl() == redirect_uri and redirect_uri.isascii() and redirect_uri.isprintable()
    return (
        plain
        and parts.scheme == "http"
        and host in LOOPBACK_HOSTS
        and port.isdigit()
        and (parts.path, parts.query, parts.fragment) == ("/callback", "", "")
    )


def origin_of(redirect_uri: str) -> str:
    """Return the origin of an address that `may_return_to` accepted."""
    parts = urlsplit(redirect_uri)
    return f"{parts.scheme}://{parts.netloc}"
