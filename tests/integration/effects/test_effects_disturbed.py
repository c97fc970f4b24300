"""The worker under a dead provider, a stolen claim, a lost session and a COMMIT that nobody answers."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from paidonce.app import db
from paidonce.app.breaker import Breaker
from paidonce.app.clock import SystemClock
from paidonce.app.errors import CommitUnknownError
from paidonce.app.messaging.answers import NoAnswer, NotSent, Succeeded
from paidonce.workers import effect_lane
from paidonce.workers.effects import lanes
from paidonce.workers.runner import Process

OK = Succeeded({"id": "ch_1", "status": "captured"})
#: Seconds that any condition may take on a busy machine.
BOUND_S = 20.0


async def test_a_dead_provider_is_left_alone_and_then_probed(world, charges):
    class HandClock(SystemClock):
        seconds = 0.0

        def monotonic(self):
            return self.seconds

    clock = HandClock()
    world.create(*(f"p{number}" for number in range(25)))
    kind = charges(NotSent("connection refused"))
    breaker = Breaker(clock, failures=10, open_s=5.0)
    async with world.lane(kind, clock=clock, breaker=breaker) as lane:
        assert await lane.run_once() == 16
        assert len(kind.calls) == 10, "the breaker opened, and held back those that were claimed already"
        assert await lane.run_once() == 0
        assert world.states == {"pending": 25}
        clock.seconds = 5.0
        assert await lane.run_once() == 1
        assert await lane.run_once() == 0
        clock.seconds = 10.0
        kind.answer = OK
        world.make_due()
        assert [await lane.run_once() for _ in range(3)] == [1, 16, 8]
    assert world.states == {"done": 25}


async def test_kinds_of_one_circuit_share_its_breaker(world, charges):
    world.create(*(f"p{number}" for number in range(10)))
    world.create("r1", kind="refund")
    world.create("e1", kind="webhook")
    dead = NotSent("connection refused")
    kinds = [charges(dead), charges(dead, name="refund"), charges(OK, name="webhook", circuit=None)]
    bind = db.async_engine(world.settings, size=8)
    payments, refunds, webhooks = lanes(kinds, bind=bind, settings=world.settings, clock=SystemClock())
    assert [await payments.run_once(), await refunds.run_once(), await webhooks.run_once()] == [10, 0, 1]
    await bind.dispose()


async def test_a_result_whose_claim_was_taken_over_settles_nothing(world, charges):
    world.create("p1")
    successor = charges(NoAnswer("time-out"))

    async def outlive_the_lease(_effect):
        world.make_due()  # the lease is over
        async with world.lane(successor) as other:
            assert await other.run_once() == 1
        return OK

    kind = charges(outlive_the_lease)
    async with world.lane(kind) as lane:
        await lane.run_once()
    assert len(successor.calls) == 1
    assert (kind.settled, world.states, world.rows("TABLE settled")) == ([], {"unknown": 1}, [])


async def test_a_settlement_is_tried_again_when_its_session_dies(world, charges):
    world.create("p1")
    killed = []

    def die_once(tx):
        if not killed:
            killed.append(tx.scalar(text("SELECT pg_backend_pid()")))
            world.rows(f"SELECT pg_terminate_backend({killed[0]})")

    kind = charges(OK, before_settling=die_once)
    async with world.lane(kind) as lane:
        await lane.run_once()
    assert (len(kind.calls), world.states, world.settlements) == (1, {"done": 1}, 1)


async def test_a_commit_without_an_answer_settles_once(world, charges, monkeypatch):
    world.create("p1")
    kind = charges(OK)
    lost = []

    @asynccontextmanager
    async def begin(bind):
        async with real(bind) as tx:
            yield tx
        if kind.settled and not lost:
            lost.append(True)
            raise CommitUnknownError

    real = db.begin_async
    monkeypatch.setattr(effect_lane.db, "begin_async", begin)
    async with world.lane(kind) as lane:
        await lane.run_once()
    assert lost
    assert (world.states, world.settlements) == ({"done": 1}, 1)


@pytest.mark.slow
async def test_what_cannot_be_settled_is_unknown_and_asked_again(world, charges):
    world.create("p1")

    def refuse(tx):
        tx.execute(text("SELECT 1 / 0"))

    kind = charges(OK, before_settling=refuse)
    async with world.lane(kind) as lane:
        await lane.run_once()
        assert world.rows("SELECT state, open_attempt FROM effects") == [("unknown", True)]
        kind.before_settling = lambda _tx: None
        world.make_due()
        await lane.run_once()
    assert (world.states, world.settlements) == ({"done": 1}, 1)


async def test_the_loop_claims_again_as_slots_come_free(world, charges):
    """With a poll of a minute, only a freed slot can bring the second and third batch."""
    world.create(*(f"p{number}" for number in range(33)))
    kind = charges(OK)
    async with world.lane(kind, effect_poll_s=60.0) as lane:
        stop = asyncio.Event()
        running = asyncio.create_task(lane.run(stop, Process("effects", world.settings)))
        async with asyncio.timeout(BOUND_S):
            while len(kind.settled) < 33:
                await asyncio.sleep(0)
        stop.set()
        lane.wake()
        await running
    assert world.states == {"done": 33}
