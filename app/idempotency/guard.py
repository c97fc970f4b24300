"""How does a request run once for its key? Claim first; whoever finds it taken gets what is stored.

A duplicate of a request that is still running waits on its row, for a short time each and for a
longer one a few (docs/design.md, "Idempotent HTTP").
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

import psycopg
from prometheus_client import Counter, Histogram
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as EngineTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app.db import begin_async, is_transient, sqlstate
from paidonce.app.errors import (
    CommitUnknownError,
    IdempotencyKeyExpiredError,
    IdempotencyKeyReusedError,
    OutcomeUnknownError,
    Problem,
    RequestInProgressError,
    UnavailableError,
)
from paidonce.app.idempotency import store
from paidonce.app.idempotency.store import Claim, Found, Response
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.app.unbroken import Unbroken

LOCK_NOT_AVAILABLE = "55P03"
LOCK_TIMEOUT = text("SELECT set_config('lock_timeout', :wait, true)")
#: A row that was there and is gone has been swept; that cannot happen this often to one request.
CLAIMS_MAX = 3

KEYED = Counter(
    "paidonce_idempotent_requests_total",
    "Requests under a key by what the key said: first, replayed, reused (for another request: refused), expired "
    "(refused), in_progress (the first one still runs: refused).",
    ["outcome"],
)
KEY_AGE = Histogram(
    "paidonce_idempotency_key_age_seconds",
    "How long ago a key had been claimed when its request came again: how late clients retry.",
    buckets=(1, 10, 60, 600, 3_600, 21_600, 86_400, 172_800, 259_200, 604_800),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A response, and whether it was there before."""

    response: Response
    replayed: bool


#: What a key refuses, as `KEYED` counts it; what `work` refuses is not the key's doing.
REFUSALS: Mapping[type[Problem], str] = MappingProxyType(
    {
        IdempotencyKeyReusedError: "reused",
        IdempotencyKeyExpiredError: "expired",
        RequestInProgressError: "in_progress",
    }
)

# A rate counts from a series' first zero: without it the first refusal of all would be missed.
for outcome in ("first", "replayed", *REFUSALS.values()):
    KEYED.labels(outcome)

#: Tries to claim and work, waiting on locks for that many milliseconds; None when the key is taken.
Attempt = Callable[[int], Awaitable[Response | None]]


class Guard:
    """Runs requests once for their key, over one pool for hot statements and one engine for the rest."""

    def __init__(self, pool: AsyncConnectionPool, engine: AsyncEngine, unbroken: Unbroken, settings: Settings) -> None:
        self._pool = pool
        self._engine = engine
        self._settings = settings
        self._waiting = 0
        self._unbroken = unbroken

    async def once(self, claim: Claim, work: Callable[[Connection], Response]) -> Stored:
        """Run `work` in the transaction that claims the key and keeps the response.

        `work` never commits; what it raises rolls everything back, so that the retry runs.

        Raises:
            ConflictError: the key was used for another request, its response is no longer kept, or it still runs.
            UnavailableError: the database did not answer; asking again under the same key is safe.
        """

        return await self.run(
            claim, lambda lock_wait_ms: self._unbroken.run(self._transaction(claim, work, lock_wait_ms))
        )

    async def run(self, claim: Claim, attempt: Attempt) -> Stored:
        """Run an attempt that claims by itself, and that a cancelled caller does not cancel; raises as `once` does."""
        try:
            stored = await self._run(claim, attempt)
        except tuple(REFUSALS) as error:
            KEYED.labels(REFUSALS[type(error)]).inc()
            raise
        KEYED.labels("replayed" if stored.replayed else "first").inc()
        return stored

    async def _run(self, claim: Claim, attempt: Attempt) -> Stored:
        try:
            for _ in range(CLAIMS_MAX):
                response = await self._attempt_bounded(attempt)
                if response is not None:
                    return Stored(response, replayed=False)
                found = await self.find(claim)
                if found is not None:
                    return Stored(self._replay(claim, found), replayed=True)
        except (PoolTimeout, EngineTimeout) as error:
            raise UnavailableError from error
        except CommitUnknownError as error:
            raise OutcomeUnknownError from error
        except (psycopg.Error, DBAPIError) as error:
            if not is_transient(error):
                raise
            raise OutcomeUnknownError from error
        raise RequestInProgressError

    async def find(self, claim: Claim) -> Found | None:
        """Return what is stored under the claim's key, if anything."""
        async with self._pool.connection() as connection:
            return await store.find(connection, claim)

    @step("idempotency.commit")
    async def _transaction(
        self, claim: Claim, work: Callable[[Connection], Response], lock_wait_ms: int
    ) -> Response | None:
        async with begin_async(self._engine) as tx:
            await tx.execute(LOCK_TIMEOUT, {"wait": f"{lock_wait_ms}ms"})
            return await tx.run_sync(_claim_and_work, claim, work)

    async def _attempt_bounded(self, attempt: Attempt) -> Response | None:
        """Wait on the first request's row: any duplicate shortly, a few longer, so that none drains the pool."""
        with suppress(_LockWaitOverError):
            return await _or_lock_wait_over(attempt, self._settings.idempotency_first_wait_ms)
        if self._waiting >= self._settings.idempotency_waiters_max:
            raise RequestInProgressError
        self._waiting += 1
        try:
            return await _or_lock_wait_over(attempt, self._settings.idempotency_wait_ms)
        except _LockWaitOverError as error:
            raise RequestInProgressError from error
        finally:
            self._waiting -= 1

    def _replay(self, claim: Claim, found: Found) -> Response:
        KEY_AGE.observe(found.age_s)
        # S3: the same key for another request is refused, whatever else is true of it.
        if found.request_hash != claim.request_hash:
            raise IdempotencyKeyReusedError(ietf=self._settings.idempotency_profile == "ietf")
        if found.expired or found.response is None:
            raise IdempotencyKeyExpiredError
        return found.response


class _LockWaitOverError(Exception):
    """The first request's row was still locked at the end of the wait."""


async def _or_lock_wait_over(attempt: Attempt, lock_wait_ms: int) -> Response | None:
    try:
        return await attempt(lock_wait_ms)
    except (psycopg.Error, DBAPIError) as error:
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            raise _LockWaitOverError from error
        raise


def _claim_and_work(tx: Connection, claim: Claim, work: Callable[[Connection], Response]) -> Response | None:
    if not store.take(tx, claim):
        return None
    response = work(tx)
    store.keep(tx, claim, response)
    return response
