"""Is it the gateway at the other end of this connection? Its certificate says so, or nobody does.

The TLS library has checked the certificate against PAIDONCE_API_GATEWAY_AUTHORITY when the connection was made; here
its name is compared, since an authority may have signed others' too.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn

from paidonce.app.api.heads import CappedProtocol
from paidonce.app.auth.vouched import PROOF
from paidonce.app.settings import Settings


class ProvingProtocol(CappedProtocol):
    """One connection that knows whose it is; `gateway_name` is set by `proving`."""

    gateway_name = ""
    _is_gateways = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Look at the certificate, once for all requests of the connection."""
        self._is_gateways = names(transport.get_extra_info("peercert"), self.gateway_name)
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        """Tell the application."""
        super().on_message_begin()
        self.scope[PROOF] = self._is_gateways  # type: ignore[literal-required]  # ASGI lets servers add keys


def names(certificate: dict[str, Any] | None, name: str) -> bool:
    """Tell whether a verified certificate, as `ssl` shows it, is for that DNS name."""
    return bool(name) and ("DNS", name) in (certificate or {}).get("subjectAltName", ())


def proving(protocol: type[CappedProtocol], gateway_name: str) -> type[ProvingProtocol]:
    """Return `protocol`, with the proof; the name is that of the gateway's certificate."""
    members: dict[str, Any] = {"gateway_name": gateway_name, "head_bytes_max": protocol.head_bytes_max}
    return type("ProvingProtocol", (ProvingProtocol,), members)


def tls(settings: Settings) -> Callable[[uvicorn.Config, Callable[[], ssl.SSLContext]], ssl.SSLContext] | None:
    """Return what makes the API's TLS context; None where it speaks plain HTTP.

    A caller without a certificate may connect, and gets what needs none: probes have none. One that shows a
    certificate which the authority did not sign gets no connection.
    """
    certificate, authority = settings.api_tls_certificate, settings.api_gateway_authority
    if certificate is None:
        return None

    def context(_config: uvicorn.Config, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.load_cert_chain(certificate, settings.api_tls_key)
        made.verify_mode = ssl.CERT_NONE if authority is None else ssl.CERT_OPTIONAL
        return made

    return context
