"""How do we call over HTTP so that the call happens once or not at all? Every kind that speaks HTTP calls here.

One request, one connection attempt; no retry, no redirect, no proxy, a bounded answer and a bounded
time. `NotSent` is said only when no connection was made (docs/design.md, "Effects").
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import Any, Self

import httpx

from paidonce.app import trace_context
from paidonce.app.messaging.answers import NoAnswer, NotSent
from paidonce.app.steps import step

#: What httpx raises before it has a connection, TLS included, and at no other time.
_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

#: Share of a call's time in which the connection must stand: past it nothing was sent, and we know so.
_CONNECT_SHARE = 0.5

#: Seconds that an idle connection is kept: less than servers keep theirs (5 s is common), because a
#: request that meets a connection being closed ends without an answer.
KEEP_ALIVE_S = 2.0

#: Seconds to wait after a 429 that does not say, or does not say it well.
RETRY_AFTER_DEFAULT_S = 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: httpx.Headers
    body: bytes
    #: whether `body` is all of it
    complete: bool


@dataclass(slots=True)
class _Pool:
    """A pool of connections, and how many calls are under way in it."""

    http: httpx.AsyncClient
    calls: int = 0


class Client:
    """Lends a pool of connections, and replaces it once a call was cut off in it.

    A call that is cut off just when it is given a connection leaves that one in httpcore's pool (1.0.9), in
    nobody's hands and never to be used again. A slow hour would use all of them up, and no call would go out
    any more until the process is started anew.
    """

    def __init__(self, open_http: Callable[[], httpx.AsyncClient]) -> None:
        self._open_http = open_http
        self._pool = _Pool(open_http())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.http.aclose()

    def build_request(self, method: str, url: httpx.URL | str, **more: Any) -> httpx.Request:
        """Return a request with the client's own headers; `more` as httpx has it."""
        return self._pool.http.build_request(method, url, **more)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[httpx.AsyncClient]:
        """Lend what makes one call."""
        pool = self._pool
        pool.calls += 1
        try:
            yield pool.http
        except (asyncio.CancelledError, httpx.PoolTimeout):
            if self._pool is pool:
                self._pool = _Pool(self._open_http())
            raise
        finally:
            pool.calls -= 1
            if self._pool is not pool and not pool.calls:
                await pool.http.aclose()


def client(*, connections: int, keep_alive: bool, tls: ssl.SSLContext | None = None) -> Client:
    """Return a client that neither repeats, redirects, asks a proxy nor reads .netrc, and keeps no cookie."""
    return Client(partial(_open, connections=connections, keep_alive=keep_alive, tls=tls or _system_roots()))


def _open(*, connections: int, keep_alive: bool, tls: ssl.SSLContext) -> httpx.AsyncClient:
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections if keep_alive else 0,
        keepalive_expiry=KEEP_ALIVE_S,
    )
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(retries=0, limits=limits, verify=tls, trust_env=False),
        follow_redirects=False,
        trust_env=False,
        # no compression: what we count is what arrives
        headers={"Accept-Encoding": "identity", "User-Agent": "paidonce"},
    )


@lru_cache(maxsize=1)
def _system_roots() -> ssl.SSLContext:
    """Read once: the machine's certificates are some hundred."""
    return ssl.create_default_context()


@step("http.call")
async def call_once(
    client: Client, request: httpx.Request, *, limit_s: float, body_bytes_max: int
) -> Reply | NotSent | NoAnswer:
    """Send `request` once, within `limit_s` seconds, and read at most `body_bytes_max` bytes of the answer's body."""
    connect_s = limit_s * _CONNECT_SHARE
    if span := trace_context.span():
        # Beside the bytes of an effect, which are the same every time: each attempt is another span.
        request.headers[trace_context.HEADER] = span
    request.extensions["timeout"] = {"connect": connect_s, "pool": connect_s, "read": limit_s, "write": limit_s}
    try:
        async with asyncio.timeout(limit_s), client.lent() as http:
            response = await http.send(request, stream=True)
            try:
                body, complete = await _read(response, body_bytes_max)
            finally:
                await response.aclose()
                http.cookies.clear()
    except _NO_CONNECTION as error:
        return NotSent(type(error).__name__)
    except TimeoutError:
        return NoAnswer("time limit")
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        return NoAnswer(type(error).__name__)
    return Reply(response.status_code, response.headers, body, complete)


async def _read(response: httpx.Response, bytes_max: int) -> tuple[bytes, bool]:
    if bytes_max == 0:
        return b"", False
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > bytes_max:
            return bytes(body[:bytes_max]), False
    return bytes(body), True


def retry_after_s(headers: httpx.Headers, now: datetime) -> float:
    """Return the seconds of a Retry-After: a number of them, or an HTTP date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return RETRY_AFTER_DEFAULT_S
