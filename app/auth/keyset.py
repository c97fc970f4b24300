"""Which key has this id, right now? One issuer's key set, fetched in the background and as seldom as possible.

A known id never waits: the set is refreshed ahead of its end, by a timer, and while the issuer is
away the old one stays in use up to a bound. An unknown id causes at most one fetch per cool-down,
for all requests together, because anyone can make up key ids; those requests wait for it, because
an issuer may sign with a new key at once (docs/design.md, "Who may call").
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

import httpx
import structlog
from joserfc.jwk import RSAKey
from prometheus_client import Counter, Gauge

from paidonce.app.auth.jwks import FETCH_S, KeySetRefusedError, fetch, usable_keys
from paidonce.app.auth.keyset_file import Kept, KeySetFile
from paidonce.app.clock import Clock
from paidonce.app.errors import InvalidTokenError, KeySetUnavailableError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.retry import full_jitter_s
from paidonce.app.settings import Settings

#: Share of a set's time after which it is fetched again: what is left is time for an issuer to come back.
REFRESH_AT = 0.8
#: Seconds that Cache-Control may ask for, at least and at most: it bounds fetches, and how long a removed key works.
MAX_AGE_LEAST_S, MAX_AGE_MOST_S = 300, 21_600
#: Seconds before the first repetition of a failed fetch, and between two at most; full jitter below that.
BACKOFF_FIRST_S, BACKOFF_MOST_S = 1.0, 60.0
#: Seconds between looks at whether a fetch is due.
TICK_S = 1.0
#: Requests with unknown key ids that may wait at once; more of them are an attack, and are told to come again.
WAITERS_MAX = 64

AGE = Gauge(
    "paidonce_key_set_age_seconds", "Since the issuer's key set in use was fetched; +Inf: there is none.", ["issuer"]
)
FETCHES = Counter(
    "paidonce_key_set_fetches_total",
    "Fetches of an issuer's key set by outcome: fetched, failed.",
    ["issuer", "outcome"],
)
_log = structlog.get_logger(__name__)


class KeySet:
    """The keys of one issuer; one a process, on its event loop."""

    def __init__(self, issuer: TrustedIssuer, settings: Settings, client: httpx.AsyncClient, clock: Clock) -> None:
        self._issuer = issuer
        self._settings = settings
        self._client = client
        self._clock = clock
        self._file = KeySetFile(settings.jwks_folder, issuer.issuer) if settings.jwks_folder else None
        self._keys: Mapping[str, RSAKey] = {}
        self._fetched_at = self._asked_at = self._due_at = float("-inf")
        self._failures = 0
        self._waiting = 0
        self._fetching: asyncio.Task[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        #: grows with every change of the set: whoever keeps what a key vouched for must let it go then
        self.generation = 0

    async def open(self) -> None:
        """Take the set from disk, or else fetch it; an issuer that is away is only logged."""
        AGE.labels(self._issuer.issuer).set_function(self.age_s)
        self._restore()
        self._ticking = asyncio.create_task(self._tick(), name="auth.refresh_keys")
        self.refresh()
        if not self.usable():
            await self._joined()

    async def close(self) -> None:
        """End a running fetch."""
        running = {task for task in (self._ticking, self._fetching) if task is not None}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def usable(self) -> bool:
        """Tell whether there is a set that may be used."""
        return self.age_s() < self._settings.jwks_stale_h * 3_600

    def ids(self) -> list[str]:
        """Return the ids of the keys in use."""
        return sorted(self._keys)

    def age_s(self) -> float:
        """Return the seconds since the set in use was fetched; infinity: there is none."""
        return self._clock.monotonic() - self._fetched_at if self._keys else float("inf")

    def refresh(self) -> None:
        """Begin to fetch the set when it is time; nobody waits for it."""
        if self._fetching is None and self._clock.monotonic() >= self._due_at:
            self._start_fetch()

    async def key(self, kid: str) -> RSAKey:
        """Return the key under `kid`; one that is unknown waits for a fetch, a bounded time.

        Raises:
            InvalidTokenError: the issuer has no such key.
            KeySetUnavailableError: there is no set that may be used, or the issuer cannot be asked for this key.
        """
        if self.usable() and kid in self._keys:
            return self._keys[kid]
        await self._asked()
        if not self.usable():
            raise KeySetUnavailableError
        if kid in self._keys:
            return self._keys[kid]
        if self._failures:
            raise KeySetUnavailableError
        raise InvalidTokenError("kid: unknown to the issuer")

    async def _asked(self) -> None:
        """Wait for the fetch that all who ask now share: the one under way, or the next after the cool-down."""
        if self._waiting >= WAITERS_MAX:
            raise KeySetUnavailableError
        self._waiting += 1
        try:
            last = self._asked_at
            cooled = self._fetching is None and not self._failures
            if cooled:
                await asyncio.sleep(last + self._settings.jwks_cooldown_s - self._clock.monotonic())
            # A timer may ring a millisecond early (uvloop's do): who has slept does not ask the clock again.
            if self._fetching is None and (self._may_ask() or (cooled and self._asked_at == last)):
                self._start_fetch()
            await self._joined()
        finally:
            self._waiting -= 1

    def _may_ask(self) -> bool:
        """After a failure only when the back-off is over; otherwise when the cool-down is."""
        now = self._clock.monotonic()
        return now >= self._due_at if self._failures else now >= self._asked_at + self._settings.jwks_cooldown_s

    async def _joined(self) -> None:
        if self._fetching is not None:
            # A request that gives up does not end the fetch for the others.
            await asyncio.wait({self._fetching}, timeout=FETCH_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.refresh()

    def _start_fetch(self) -> None:
        self._asked_at = self._clock.monotonic()
        self._fetching = asyncio.create_task(self._fetch(), name="auth.fetch_keys")
        self._fetching.add_done_callback(self._fetch_ended)

    def _fetch_ended(self, _task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        # The age counts from before the request: an answer is as old as the question.
        kept_at = self._clock.now()
        try:
            fetched = await fetch(self._client, self._issuer)
        except Exception as error:  # noqa: BLE001  whatever it is, without a back-off it would come again each second
            self._put_off(error)
            return
        self._adopt(fetched.keys, fetched_at=self._asked_at, max_age_s=fetched.max_age_s)
        if fetched.keys:
            FETCHES.labels(self._issuer.issuer, "fetched").inc()
            self._failures = 0
        else:
            # The issuer has spoken: keys that it took away work no longer, be they its last ones.
            self._put_off(KeySetRefusedError("no usable key"))
        if self._file is not None:
            await asyncio.to_thread(self._file.save, Kept(fetched.body, kept_at, fetched.max_age_s))

    def _put_off(self, error: Exception) -> None:
        pause_s = full_jitter_s(self._failures, first_s=BACKOFF_FIRST_S, most_s=BACKOFF_MOST_S)
        self._failures += 1
        FETCHES.labels(self._issuer.issuer, "failed").inc()
        self._due_at = self._clock.monotonic() + pause_s
        reason = f"{type(error).__name__}: {error}"
        _log.warning("key set not fetched", issuer=self._issuer.issuer, reason=reason, failures=self._failures)

    def _adopt(self, keys: Mapping[str, RSAKey], *, fetched_at: float, max_age_s: int | None) -> None:
        age_s = self._settings.jwks_cache_s if max_age_s is None else max(max_age_s, MAX_AGE_LEAST_S)
        self._fetched_at = fetched_at
        self._due_at = fetched_at + REFRESH_AT * min(age_s, MAX_AGE_MOST_S)
        if keys != self._keys:
            self._keys = keys
            self.generation += 1
            _log.info("key set changed", issuer=self._issuer.issuer, kids=sorted(keys))

    def _restore(self) -> None:
        kept = self._file.load() if self._file is not None else None
        if kept is None:
            return
        age = self._clock.now() - kept.fetched_at
        if age < timedelta(0):
            return  # a clock was set: nobody can say how old it is
        with suppress(KeySetRefusedError):
            if keys := usable_keys(kept.body):
                self._adopt(keys, fetched_at=self._clock.monotonic() - age.total_seconds(), max_age_s=kept.max_age_s)
