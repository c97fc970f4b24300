"""Has this caller asked too often? Counters per subject and per tenant, in Valkey, so that every replica counts alike.

A window is fixed, and begins for each caller at a moment of its own, so that not all come back at
once; over the border of two of them up to twice the quota may come. The headers are those of
draft-ietf-httpapi-ratelimit-headers-10 (docs/design.md, "Shared state").
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil

from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from prometheus_client import Counter

from paidonce.app.auth.principal import Principal
from paidonce.app.clock import Clock
from paidonce.app.errors import RateLimitedError, RateLimitUnavailableError
from paidonce.app.settings import Settings
from paidonce.app.valkey import SharedState, ValkeyAwayError

#: Seconds that a counter outlives its window: replicas' clocks differ.
CLOCKS_DIFFER_S = 5

REFUSED = Counter("paidonce_rate_limited_requests_total", "Requests answered 429, by policy.", ["policy"])
UNCOUNTED = Counter("paidonce_rate_limit_uncounted_requests_total", "Requests that came while Valkey was away.")


@dataclass(frozen=True, slots=True)
class Policy:
    """A quota, and who shares it."""

    name: str
    item: RateLimitItem
    #: the parts of the caller's identity that it is counted under
    counted_as: Callable[[Principal], tuple[str, ...]]

    @property
    def window_s(self) -> int:
        """Seconds of one window."""
        return self.item.get_expiry()


@dataclass(slots=True)
class Quota:
    """What a request found: headers for its answer, and the problem to answer, if any."""

    headers: dict[str, str] = field(default_factory=dict)
    problem: RateLimitedError | RateLimitUnavailableError | None = None


class RateLimit:
    """Counts requests against the settings' quotas; without any it asks nobody."""

    def __init__(self, shared: SharedState, clock: Clock, settings: Settings) -> None:
        self._shared = shared
        self._clock = clock
        self._closed = settings.rate_limit_when_away == "closed"
        self._policies = _policies(settings)
        self._policy_header = ", ".join(f'"{one.name}";q={one.item.amount};w={one.window_s}' for one in self._policies)
        # Our own pool, and with it its time limits. The library would else pick another client for this URL.
        self._counters = RedisStorage(
            f"async+{settings.valkey}",
            implementation="valkey",
            key_prefix="paidonce:rate",
            connection_pool=shared.pool,  # type: ignore[arg-type]  # documented, and missing in its annotation
        )

    async def spend(self, principal: Principal) -> Quota:
        """Count one request. The tenant's quota is not touched by what the subject's own refuses."""
        quota, states = Quota(), []
        for policy in self._policies:
            try:
                count, left_s = await self._count(policy, principal)
            except ValkeyAwayError:
                UNCOUNTED.inc()
                return Quota(problem=RateLimitUnavailableError() if self._closed else None)
            states.append(f'"{policy.name}";r={max(0, policy.item.amount - count)};t={left_s}')
            if count > policy.item.amount:
                REFUSED.labels(policy.name).inc()
                quota.problem = RateLimitedError(policy.name, left_s)
                break
        if states:
            quota.headers = {"RateLimit-Policy": self._policy_header, "RateLimit": ", ".join(states)}
        return quota

    async def _count(self, policy: Policy, principal: Principal) -> tuple[int, int]:
        """Return how many came in this window, this one included, and the seconds until the next begins."""
        who = digest(policy.counted_as(principal))
        number, over_s = divmod(self._clock.now().timestamp() + who % policy.window_s, policy.window_s)
        key = policy.item.key_for(policy.name, f"{who:x}", f"{number:.0f}")
        count = await self._shared.call(lambda: self._counters.incr(key, policy.window_s + CLOCKS_DIFFER_S))
        return count, ceil(policy.window_s - over_s)


def digest(parts: tuple[str, ...]) -> int:
    """Return a number of 128 bits that names the parts: what stands in Valkey tells nobody whose token it was."""
    whole = sha256()
    for part in parts:
        encoded = part.encode()
        whole.update(len(encoded).to_bytes(4, "big") + encoded)
    return int.from_bytes(whole.digest()[:16], "big")


def _policies(settings: Settings) -> tuple[Policy, ...]:
    said: Mapping[str, tuple[str, Callable[[Principal], tuple[str, ...]]]] = {
        "subject": (settings.rate_limit_subject, lambda principal: (principal.issuer, principal.tenant, principal.sub)),
        "tenant": (settings.rate_limit_tenant, lambda principal: (principal.tenant,)),
    }
    return tuple(Policy(name, parse(rate), counted_as) for name, (rate, counted_as) in said.items() if rate)
