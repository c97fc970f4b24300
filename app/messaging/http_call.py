"""How do we call over HTTP so that the call happens once or not at all? Every kind that speaks HTTP calls here.

One request, one connection attempt; no retry, no redirect, no proxy, a bounded answer and a bounded
time. `NotSent` is said only when no connection was made (docs/design.md, "Effects").
"""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

import httpx

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


def client(*, connections: int, keep_alive: bool, tls: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """Return a client that neither repeats, redirects, asks a proxy nor reads .netrc, and keeps no cookie."""
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections if keep_alive else 0,
        keepalive_expiry=KEEP_ALIVE_S,
    )
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(retries=0, limits=limits, verify=tls or _system_roots(), trust_env=False),
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
    http: httpx.AsyncClient, request: httpx.Request, *, limit_s: float, body_bytes_max: int
) -> Reply | NotSent | NoAnswer:
    """Send `request` once, within `limit_s` seconds, and read at most `body_bytes_max` bytes of the answer's body."""
    connect_s = limit_s * _CONNECT_SHARE
    request.extensions["timeout"] = {"connect": connect_s, "pool": connect_s, "read": limit_s, "write": limit_s}
    try:
        async with asyncio.timeout(limit_s):
            response = await http.send(request, stream=True)
            try:
                body, complete = await _read(response, body_bytes_max)
            finally:
                await response.aclose()
    except _NO_CONNECTION as error:
        return NotSent(type(error).__name__)
    except TimeoutError:
        return NoAnswer("time limit")
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        return NoAnswer(type(error).__name__)
    finally:
        http.cookies.clear()
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
