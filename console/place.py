"""Where is the console, as a browser sees it? Its origin decides redirects, cookies and whose forms are taken."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """The console's address in a browser."""

    #: scheme, host and port, as a browser writes it in `Origin`
    origin: str
    secure: bool

    @property
    def callback(self) -> str:
        """Where the issuer sends people back to."""
        return f"{self.origin}/callback"

    def cookie(self, name: str) -> str:
        """Return a cookie's name: bound to this host and to TLS, where there is TLS (RFC 6265bis, `__Host-`)."""
        return f"__Host-paidonce-{name}" if self.secure else f"paidonce-{name}"


def place(settings: Settings) -> Place:
    """Return where the console is.

    Raises:
        ConfigurationError: PAIDONCE_CONSOLE_URL is no origin, or not safe.
    """
    url = settings.console_url or f"http://{settings.console_host}:{settings.console_port}"
    parts = urlsplit(url)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or url.rstrip("/") != f"{parts.scheme}://{parts.netloc}"
    ):
        raise ConfigurationError(f"PAIDONCE_CONSOLE_URL is {url!r}: it is https://HOST, with a port where it has one")
    if parts.netloc != _in_origin(parts):
        raise ConfigurationError(
            f"PAIDONCE_CONSOLE_URL is {url!r}, which no browser writes so, and no form would be taken: small letters, "
            f"no user, and a port only where it is not that of {parts.scheme}"
        )
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ConfigurationError(
            f"the console would be at {url}, where everybody between reads its cookies: put TLS in front of it and set "
            "PAIDONCE_CONSOLE_URL=https://…, or reach it on 127.0.0.1 by a tunnel"
        )
    return Place(f"{parts.scheme}://{parts.netloc}", parts.scheme == "https")


def _in_origin(parts: SplitResult) -> str:
    """Return host and port as a browser writes them in `Origin`; empty: the port is none."""
    try:
        port = parts.port
    except ValueError:
        return ""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    own = {"http": 80, "https": 443}[parts.scheme]
    return host if port in {None, own} else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
