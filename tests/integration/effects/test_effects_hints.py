"""Work that is found at once: a hint wakes the lane of its kind, and a result hints at its event."""

import asyncio
from contextlib import asynccontextmanager
from threading import Thread

import psycopg
import pytest

from paidonce.app import db
from paidonce.app.clock import SystemClock
from paidonce.app.messaging.answers import Succeeded
from paidonce.app.messaging.hint import OUTBOX, Hinter, effects_of
from paidonce.workers.effect_lane import Lane
from paidonce.workers.effects_wake import listen
from paidonce.workers.runner import Process

OK = Succeeded({"id": "ch_1", "status": "captured"})
#: No poll comes within a test: what is done was hinted at.
NO_POLL_S = 600.0
BOUND_S = 20.0


@asynccontextmanager
async def running(world, kind, settled=lambda: None):
    """A lane that listens and never polls."""
    bind = db.async_engine(world.settings, size=2)
    settings = world.settings.model_copy(update={"effect_poll_s": NO_POLL_S})
    lane = Lane(kind, breaker=None, bind=bind, settings=settings, clock=SystemClock(), settled=settled)
    stop, heard = asyncio.Event(), asyncio.Event()

    def wake():
        lane.wake()
        heard.set()

    listening = asyncio.create_task(listen(db.libpq_dsn(settings), {effects_of(lane.kind): wake}))
    laning = asyncio.create_task(lane.run(stop, Process("effects", world.settings)))
    try:
        async with asyncio.timeout(BOUND_S):
            await heard.wait()  # it listens now
            yield
    finally:
        listening.cancel()
        stop.set()
        lane.wake()
        await laning
        await bind.dispose()


async def test_a_hint_of_its_kind_wakes_a_lane(world, charges):
    done = asyncio.Event()
    kind = charges(OK)
    hinter = Hinter(db.libpq_dsn(world.settings))
    async with running(world, kind, settled=done.set):
        world.create("p1")
        hinter.hint(effects_of("refund"))
        hinter.hint(effects_of("charge"))
        await done.wait()
    hinter.close()
    assert [subject for subject, _ in kind.calls] == ["p1"]


async def test_it_finds_what_was_hinted_at_before_it_listened(world, charges):
    world.create("p1")
    done = asyncio.Event()
    async with running(world, charges(OK), settled=done.set):
        await done.wait()


async def test_it_listens_again_after_its_session_died(world, charges):
    done = asyncio.Event()
    hinter = Hinter(db.libpq_dsn(world.settings))
    async with running(world, charges(OK), settled=done.set):
        world.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'paidonce-listen' AND datname = current_database()"
        )
        world.create("p1")
        while not done.is_set():  # a hint into the gap is lost, and so would be the poll's to find
            hinter.hint(effects_of("charge"))
            await asyncio.sleep(0.05)
    hinter.close()


def test_no_hint_of_many_threads_is_lost(world):
    channels = [f"paidonce_effects_k{number}" for number in range(8)]
    hinter = Hinter(db.libpq_dsn(world.settings))
    with psycopg.connect(world.settings.dsn.get_secret_value(), autocommit=True) as session:
        for channel in [OUTBOX, *channels]:
            session.execute(f'LISTEN "{channel}"'.encode())
        threads = [Thread(target=lambda c=c: [hinter.hint(c) for _ in range(200)]) for c in channels]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        heard = set()
        for notice in session.notifies(timeout=BOUND_S):
            heard.add(notice.channel)
            if heard == set(channels):
                break
    hinter.close()
    assert heard == set(channels)


@pytest.mark.parametrize("answered", [True, False])
async def test_only_a_result_hints_at_its_event(world, charges, answered):
    told = []
    kind = charges(OK)
    world.create("p1")
    bind = db.async_engine(world.settings, size=2)
    lane = Lane(
        kind,
        breaker=None,
        bind=bind,
        settings=world.settings,
        clock=SystemClock(),
        settled=lambda: told.append(world.states["done"]),
    )
    if not answered:
        kind.call_s, kind.answer = 0.05, lambda _effect: asyncio.sleep(BOUND_S)
    await lane.run_once()
    await bind.dispose()
    assert told == ([1] if answered else [])
