"""How does one webhook get to a merchant, and to nobody else? Resolved once, checked, pinned, signed, sent once.

At least once in all, always under the same webhook-id; the merchant chose the address, so nothing
about it is trusted (docs/design.md, "Webhooks").
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Self

import httpx
import structlog

from paidonce.app.clock import Clock, SystemClock
from paidonce.app.messaging import http_call
from paidonce.app.messaging.answers import Answer, NoAnswer, NotSent, Refused, Succeeded, Throttled
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.app.webhooks import signing
from paidonce.app.webhooks.addresses import Address, is_public
from paidonce.app.webhooks.endpoints import Endpoint

#: Host and port to every address that a connection may go to; raises OSError.
Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]

#: What `Refused` says when the merchant answered 410: it wants no more of them.
GONE = "gone"

_PORTS = {"http": 80, "https": 443}

log = structlog.get_logger(__name__)


async def resolve(host: str, port: int) -> Sequence[Address]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(address[0]) for *_, address in found]


class Delivery:
    """Sends webhooks; one object for a process, on one event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limit_s = settings.webhook_call_s
        self._private = settings.webhook_private_addresses
        self._clock = clock or SystemClock()
        self._resolve = resolver
        # no connection is kept: one to the same address may have been checked against another tenant's name
        self._http = http_call.client(connections=2 * settings.effect_parallel, keep_alive=False, tls=tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @step("webhook.deliver")
    async def deliver(self, endpoint: Endpoint, webhook_id: str, body: bytes) -> Answer:
        """Send `body` to `endpoint` once, signed now with its secret.

        Succeeded for 2xx, Refused("gone") for 410, Throttled for 429, NotSent when the address
        does not resolve, is forbidden or takes no connection, NoAnswer for everything else.
        """
        began = self._clock.monotonic()
        try:
            url = httpx.URL(endpoint.url)
            async with asyncio.timeout(self._limit_s):
                address = await self._checked_address(url)
        except (httpx.InvalidURL, OSError, ValueError) as error:
            return NotSent(f"address: {str(error) or 'time limit'}")
        headers = signing.sign(endpoint.secret, webhook_id, self._clock.now(), body)
        request = self._pinned(url, address, headers, body)
        left_s = max(0.0, self._limit_s - (self._clock.monotonic() - began))
        reply = await http_call.call_once(self._http, request, limit_s=left_s, body_bytes_max=0)
        return self._meaning(reply) if isinstance(reply, http_call.Reply) else reply

    async def _checked_address(self, url: httpx.URL) -> Address:
        """Return the address to connect to; every one that the name has must be allowed."""
        host = url.raw_host.decode("ascii")
        found = await self._resolve(host, url.port or _PORTS[url.scheme])
        if not found:
            raise OSError("the name has no address")
        forbidden = [one for one in found if not is_public(one)]
        if forbidden and not self._private:
            log.warning("webhook_address_forbidden", host=host, address=str(forbidden[0]))
            raise ValueError("not an address of the public internet")
        return found[0]

    def _pinned(self, url: httpx.URL, address: Address, headers: dict[str, str], body: bytes) -> httpx.Request:
        """Name the address where a name would be resolved again; Host and TLS keep the name."""
        return self._http.build_request(
            "POST",
            url.copy_with(host=str(address)),
            content=body,
            headers={**headers, "Host": url.netloc.decode("ascii"), "Content-Type": "application/json"},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )

    def _meaning(self, reply: http_call.Reply) -> Answer:
        if 200 <= reply.status < 300:
            return Succeeded({})
        if reply.status == 410:
            return Refused(GONE, {})
        if reply.status == 429:
            return Throttled(http_call.retry_after_s(reply.headers, self._clock.now()))
        return NoAnswer(f"status {reply.status}")
