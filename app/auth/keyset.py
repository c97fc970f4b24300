"""Which key has this id, right now? The issuer's key set, kept for a while and fetched as seldom as possible.

A known id never waits: the set is refreshed in the background, ahead of its end. An unknown id
causes at most one fetch per cool-down, for all requests together, because anyone can make up
key ids (docs/design.md, "Who may call").
"""

import asyncio
import ssl
from collections.abc import Mapping
from functools import cache

import httpx
import structlog
from joserfc.jwk import RSAKey

from paidonce.app.auth.jwks import FETCH_S, KeySetRefusedError, checked_url, fetch
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.errors import InvalidTokenError, KeySetUnavailableError
from paidonce.app.settings import Settings

#: Share of a set's time after which it is fetched again: what is left is time for an issuer to come back.
REFRESH_AT = 0.8
_log = structlog.get_logger(__name__)


@cache
def _trust() -> ssl.SSLContext:
    """The machine's own trust store, to which an operator can add an authority (SSL_CERT_FILE); 30 ms to read."""
    return ssl.create_default_context()


class KeySet:
    """The keys of one issuer; one a process, on its event loop."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._url = checked_url(settings.jwks_url or f"{settings.issuer.rstrip('/')}/.well-known/jwks.json")
        self._cache_s = settings.jwks_cache_s
        self._cooldown_s = settings.jwks_cooldown_s
        self._clock = clock or SystemClock()
        # No proxy from the environment and no redirects: the keys come from this address or not at all.
        self._client = httpx.AsyncClient(verify=_trust(), follow_redirects=False, trust_env=False, timeout=FETCH_S)
        self._keys: Mapping[str, RSAKey] = {}
        self._fetched_at = float("-inf")
        self._attempted_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        #: grows with every change of the set: whoever keeps what a key vouched for must let it go then
        self.generation = 0

    async def open(self) -> None:
        """Fetch the set, so that the first request does not wait; an issuer that is away is only logged."""
        await self._fetched()

    async def close(self) -> None:
        """End a running fetch and close the connections."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})
        await self._client.aclose()

    def fresh(self) -> bool:
        """Tell whether the set may be used; starts a refresh in the background when its end is near."""
        age_s = self._clock.monotonic() - self._fetched_at
        if age_s >= REFRESH_AT * self._cache_s:
            self._start_fetch()
        return age_s < self._cache_s

    async def key(self, kid: str) -> RSAKey:
        """Return the key under `kid`, after at most one fetch, for which it waits a bounded time.

        Raises:
            InvalidTokenError: the issuer has no such key.
            KeySetUnavailableError: there is no set that may be used.
        """
        fresh = self.fresh()
        if not fresh or kid not in self._keys:
            await self._fetched()
            fresh = self.fresh()
        if not fresh:
            raise KeySetUnavailableError
        key = self._keys.get(kid)
        if key is None:
            raise InvalidTokenError("kid: unknown to the issuer")
        return key

    async def _fetched(self) -> None:
        """Wait for the running fetch, or for a new one unless one has just been made."""
        self._start_fetch()
        if self._fetching is not None:
            # A request that gives up does not end the fetch for the others.
            await asyncio.wait({self._fetching}, timeout=FETCH_S)

    def _start_fetch(self) -> None:
        now = self._clock.monotonic()
        if self._fetching is None and now - self._attempted_at >= self._cooldown_s:
            self._attempted_at = now
            self._fetching = asyncio.create_task(self._fetch(), name="auth.fetch_keys")
            self._fetching.add_done_callback(self._fetch_ended)

    def _fetch_ended(self, _task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        # The age counts from before the request: an answer is as old as the question.
        asked_at = self._clock.monotonic()
        try:
            keys = await fetch(self._client, self._url)
        except (httpx.HTTPError, OSError, KeySetRefusedError) as error:
            _log.warning("key set not fetched", url=self._url, reason=f"{type(error).__name__}: {error}")
            return
        self._fetched_at = asked_at
        if keys != self._keys:
            self._keys = keys
            self.generation += 1
            _log.info("key set changed", kids=sorted(keys))
