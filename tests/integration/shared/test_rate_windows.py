"""Does a quota come back when its window is over, at a moment of each caller's own?"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from paidonce.app.auth.principal import Principal
from paidonce.app.auth.rate_limit import RateLimit
from paidonce.app.clock import SystemClock
from paidonce.app.settings import Settings
from paidonce.app.valkey import SharedState
from paidonce.devstack.valkey import Valkey

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


class SetClock(SystemClock):
    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def limit(valkey: Valkey, clock: SetClock) -> AsyncIterator[RateLimit]:
    settings = Settings(valkey=valkey.url, rate_limit_subject="3/minute", valkey_call_s=10)
    shared = SharedState(settings, clock)
    yield RateLimit(shared, clock, settings)
    await shared.close()


def caller(sub: str, tenant: str = "acme", issuer: str = "https://issuer.example") -> Principal:
    return Principal(sub, tenant, frozenset(), frozenset(), START + timedelta(days=1), issuer=issuer)


async def refused_after(limit: RateLimit, who: Principal) -> int:
    """Spend until refused; return the seconds to wait."""
    for _ in range(4):
        problem = (await limit.spend(who)).problem
        if problem is not None:
            assert problem.retry_after
            return problem.retry_after
    raise AssertionError("never refused")


async def test_one_name_at_two_issuers_is_two_callers(limit: RateLimit) -> None:
    """Whoever may name people at one issuer must not use up the quota of another's."""
    await refused_after(limit, caller("ann"))
    for other in (caller("ann", issuer="https://realm.example"), caller("ann", tenant="globex"), caller("bob")):
        assert (await limit.spend(other)).problem is None


async def test_whoever_waits_as_told_is_let_through(limit: RateLimit, clock: SetClock) -> None:
    who = caller("waits")
    wait_s = await refused_after(limit, who)
    assert 0 < wait_s <= 60
    clock.at += timedelta(seconds=wait_s)
    quota = await limit.spend(who)
    assert quota.problem is None
    assert quota.headers["RateLimit"].startswith('"subject";r=2;t=')


async def test_not_all_come_back_at_once(limit: RateLimit) -> None:
    waits = {await refused_after(limit, caller(f"one-of-many-{number}")) for number in range(12)}
    assert len(waits) > 3


async def test_what_stands_in_valkey_names_nobody_and_expires(
    limit: RateLimit, valkey: Valkey, clock: SetClock
) -> None:
    settings = Settings(valkey=valkey.url, valkey_call_s=10)
    shared = SharedState(settings, clock)
    await limit.spend(caller("zoe@example.com"))
    keys = await shared.client.keys("paidonce:rate:*/3/1/minute")
    assert keys
    for key in keys:
        assert b"zoe" not in key
        assert 0 < await shared.client.ttl(key) <= 65
    await shared.close()
