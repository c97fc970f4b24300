"""How do we reach Valkey? One pool a process, a short time limit on every call, and a breaker.

What is in it is shared by all replicas and may be lost: carts and counters, never money. So who
asks learns quickly that it is away, and while it stays away hardly anybody asks
(docs/design.md, "Shared state").
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from prometheus_client import Counter
from valkey.asyncio import Valkey
from valkey.asyncio.connection import ConnectionPool
from valkey.exceptions import BusyLoadingError, ResponseError, ValkeyError

from paidonce.app.breaker import Breaker
from paidonce.app.clock import Clock
from paidonce.app.errors import PaidonceError
from paidonce.app.settings import Settings
from paidonce.app.settings_servers import VALKEY_TLS
from paidonce.app.steps import step

#: Connections of one process: a call lasts a fraction of a millisecond, and more would only queue over there.
CONNECTIONS_MAX = 16

CALLS = Counter(
    "paidonce_valkey_calls_total",
    "Calls to Valkey: `answered`, `failed`, or `withheld` by the open breaker.",
    ["outcome"],
)
_log = structlog.get_logger(__name__)
Result = TypeVar("Result")


class ValkeyAwayError(PaidonceError):
    """Valkey does not answer, or refuses: `paidonce doctor` says why; start it, or set PAIDONCE_VALKEY."""


class SharedState:
    """Valkey, for the code of one event loop; opens connections when they are needed."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._call_s = settings.valkey_call_s
        # A library that waits no longer than we do leaves no connection in the middle of an answer. It does not
        # repeat by itself: a counter would count twice, and the time would be over.
        self.pool = ConnectionPool.from_url(
            settings.valkey,
            max_connections=CONNECTIONS_MAX,
            socket_timeout=settings.valkey_call_s,
            socket_connect_timeout=settings.valkey_call_s,
            **_tls(settings),
        )
        self.client: Valkey = Valkey(connection_pool=self.pool)
        self._free = asyncio.Semaphore(CONNECTIONS_MAX)
        self._breaker = Breaker(clock, failures=settings.breaker_failures, open_s=settings.breaker_open_s)

    @step("valkey.call")
    async def call(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `work`, which uses the client or the pool, gets from Valkey within `valkey_call_s` seconds.

        Raises:
            ValkeyAwayError: it did not answer in time, refused, or the breaker is open and nobody asked.
                Whether a write happened nobody knows.
        """
        if not self._breaker.enter():
            CALLS.labels("withheld").inc()
            raise ValkeyAwayError
        alive: bool | None = None
        try:
            async with asyncio.timeout(self._call_s), self._free:
                result = await work()
            alive = True
        except BusyLoadingError as error:
            alive = False
            raise _away(error) from error
        except ResponseError as error:  # full, read-only, another password: it lives, and says no
            alive = True
            raise _away(error) from error
        except (ValkeyError, OSError, TimeoutError) as error:
            alive = False
            raise _away(error) from error
        finally:
            self._breaker.report(alive=alive)
        CALLS.labels("answered").inc()
        return result

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.aclose()


def _tls(settings: Settings) -> dict[str, Any]:
    """Return how the server is verified, where there is TLS: its name too, which the library leaves out by default."""
    if urlsplit(settings.valkey).scheme not in VALKEY_TLS:
        return {}
    authority = settings.valkey_ca or ssl.get_default_verify_paths().cafile
    return {
        "ssl_check_hostname": True,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        "ssl_ca_certs": str(authority) if authority else None,
    }


def _away(error: Exception) -> ValkeyAwayError:
    CALLS.labels("failed").inc()
    # It names an address, or what the server or the TLS library said; never a password.
    _log.warning("valkey away", cause=type(error).__name__, error=str(error))
    return ValkeyAwayError()
