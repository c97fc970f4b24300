"""Does a Valkey that stalls, dies, refuses or comes back cost its callers no more than a moment, and mix up nothing?"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from paidonce.app.clock import SystemClock
from paidonce.app.settings import Settings
from paidonce.app.valkey import CONNECTIONS_MAX, SharedState, ValkeyAwayError
from paidonce.devstack.runs import Run
from paidonce.devstack.valkey import Valkey, start_valkey

FAILURES = 3
#: Seconds for what takes a fraction of one, on a busy machine: beyond it somebody waits without an end.
SOON_S = 20.0


class SetClock(SystemClock):
    """The breaker's clock stands still unless the test moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def own(run: Run) -> Iterator[Valkey]:
    started = start_valkey(run, name=f"valkey-{uuid4().hex[:8]}")
    assert started.process
    yield started
    started.process.send(signal.SIGCONT)
    started.process.stop()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@asynccontextmanager
async def opened(url: str, clock: SetClock) -> AsyncIterator[SharedState]:
    settings = Settings(valkey=url, valkey_call_s=0.2, breaker_failures=FAILURES, breaker_open_s=5.0)
    shared = SharedState(settings, clock)
    try:
        yield shared
    finally:
        await shared.close()


def calls(outcome: str) -> float:
    return REGISTRY.get_sample_value("paidonce_valkey_calls_total", {"outcome": outcome}) or 0.0


async def get(shared: SharedState, name: str) -> bytes:
    return await shared.call(lambda: shared.client.get(name))


def send(own: Valkey, number: signal.Signals) -> None:
    assert own.process
    own.process.send(number)


async def test_a_late_answer_reaches_nobody_else(own: Valkey, clock: SetClock) -> None:
    async with asyncio.timeout(SOON_S), opened(own.url, clock) as shared:
        names = [f"name-{number}" for number in range(3 * CONNECTIONS_MAX)]
        for name in names:
            await shared.call(lambda name=name: shared.client.set(name, name))
        assert await asyncio.gather(*(get(shared, name) for name in names)) == [name.encode() for name in names]
        send(own, signal.SIGSTOP)
        late = await asyncio.gather(*(get(shared, name) for name in names), return_exceptions=True)
        assert {type(one) for one in late} == {ValkeyAwayError}
        send(own, signal.SIGCONT)
        clock.seconds += 5.0
        back = [await get(shared, name) for name in reversed(names)]
        assert back == [name.encode() for name in reversed(names)], "one caller got the answer to another"


async def test_a_caller_that_gives_up_leaves_no_answer_behind(own: Valkey, clock: SetClock) -> None:
    async with asyncio.timeout(SOON_S), opened(own.url, clock) as shared:
        await shared.call(lambda: shared.client.mset({"mine": "mine", "yours": "yours"}))
        send(own, signal.SIGSTOP)
        asked = asyncio.create_task(get(shared, "mine"))
        while shared.pool.can_get_connection() and not shared.pool._in_use_connections:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        send(own, signal.SIGCONT)
        assert await get(shared, "yours") == b"yours"


async def test_the_breaker_keeps_callers_away_until_a_probe_is_answered(own: Valkey, clock: SetClock) -> None:
    async with asyncio.timeout(SOON_S), opened(own.url, clock) as shared:
        send(own, signal.SIGSTOP)
        failed, withheld = calls("failed"), calls("withheld")
        for _ in range(FAILURES + 20):
            with pytest.raises(ValkeyAwayError):
                await get(shared, "any")
        assert (calls("failed") - failed, calls("withheld") - withheld) == (FAILURES, 20)
        clock.seconds += 5.0
        with pytest.raises(ValkeyAwayError):
            await get(shared, "any")
        assert (calls("failed") - failed, calls("withheld") - withheld) == (FAILURES + 1, 20), "one probe"
        send(own, signal.SIGCONT)
        with pytest.raises(ValkeyAwayError):
            await get(shared, "any")
        clock.seconds += 5.0
        assert await get(shared, "any") is None


async def test_a_restart_is_noticed_by_nobody_who_asks_afterwards(own: Valkey, clock: SetClock, run: Run) -> None:
    assert own.process
    async with asyncio.timeout(SOON_S), opened(own.url, clock) as shared:
        await asyncio.gather(*(get(shared, "any") for _ in range(CONNECTIONS_MAX)))
        send(own, signal.SIGKILL)
        own.process.end(within_s=SOON_S)
        with pytest.raises(ValkeyAwayError):
            await get(shared, "any")
        run.restart(own.process)
        while not await _answers(shared, clock):
            await asyncio.sleep(0.01)
        assert await asyncio.gather(*(get(shared, "any") for _ in range(CONNECTIONS_MAX))) == [None] * CONNECTIONS_MAX


async def _answers(shared: SharedState, clock: SetClock) -> bool:
    clock.seconds += 5.0
    try:
        return await get(shared, "any") is None
    except ValkeyAwayError:
        return False


async def test_a_refusal_is_told_and_opens_no_breaker(own: Valkey, clock: SetClock) -> None:
    async with asyncio.timeout(SOON_S), opened(own.url, clock) as shared:
        await shared.call(lambda: shared.client.config_set("maxmemory", "1"))
        for _ in range(FAILURES + 1):
            with pytest.raises(ValkeyAwayError) as refused:
                await shared.call(lambda: shared.client.set("a", "b"))
            assert refused.value.__cause__ is not None
        assert await get(shared, "a") is None, "it lives, and reading works"
