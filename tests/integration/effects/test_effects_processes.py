"""A worker that is killed, stopped or ended in the middle of a call."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from paidonce.app.messaging.answers import Refused, Succeeded

OK = Succeeded({"id": "ch_1", "status": "captured"})
#: Seconds that any condition may take on a busy machine.
BOUND_S = 20.0
PROGRAM = Path(__file__).with_name("a_worker.py")


@asynccontextmanager
async def a_worker(world):
    """A worker process, whose calls hang until `hang` is empty."""
    world.rows("INSERT INTO hang VALUES (1)")
    process = subprocess.Popen([sys.executable, PROGRAM, world.settings.dsn.get_secret_value()])
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.kill()
        process.wait(BOUND_S)


async def until(condition, what):
    end = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        await asyncio.sleep(0.02)


async def test_a_worker_killed_in_a_call_leaves_it_unknown_and_it_is_sent_again(world, charges):
    world.create("p1")
    async with a_worker(world) as worker:
        await until(lambda: world.rows("TABLE calls"), "the call")
        worker.kill()
        worker.wait(BOUND_S)
    kind = charges(OK)
    async with world.lane(kind) as lane:
        assert await lane.run_once() == 0, "its lease is not over"
        await until(lambda: world.rows("SELECT 1 FROM effects WHERE lease_until < now()"), "the lease's end")
        assert await lane.run_once() == 1
    assert world.rows("SELECT subject, request FROM calls") == kind.calls
    assert ("lease_lost", "unknown") in world.rows("SELECT event, state FROM effect_history")
    assert world.states == {"done": 1}


@pytest.mark.slow
async def test_a_worker_stopped_in_a_call_changes_nothing_when_it_wakes(world, charges):
    world.create("p1")
    async with a_worker(world) as worker:
        await until(lambda: world.rows("TABLE calls"), "the call")
        os.kill(worker.pid, signal.SIGSTOP)
        world.make_due()  # its lease is over
        async with world.lane(charges(Refused("declined", {}))) as lane:
            assert await lane.run_once() == 1
        before = world.rows("SELECT e.*, h.* FROM effects e, effect_history h ORDER BY h.id")
        world.rows("DELETE FROM hang")
        os.kill(worker.pid, signal.SIGCONT)
        worker.terminate()
        assert worker.wait(BOUND_S) == 0
    assert world.rows("SELECT e.*, h.* FROM effects e, effect_history h ORDER BY h.id") == before
    assert world.settlements == 1


async def test_sigterm_lets_the_call_end_and_claims_no_more(world, charges):
    world.create("p1")
    async with a_worker(world) as worker:
        await until(lambda: world.rows("TABLE calls"), "the call")
        worker.terminate()
        world.create("p2")
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.2)
        world.rows("DELETE FROM hang")
        assert worker.wait(BOUND_S) == 0
    assert dict(world.rows("SELECT subject, state FROM effects")) == {"p1": "done", "p2": "pending"}


@pytest.mark.slow
async def test_the_product_s_worker_carries_out_all_its_kinds_and_stops(world):
    """Nobody listens where the provider should be: that was certainly not sent. No endpoint: nobody to tell."""
    world.create("8d1ae5b6-0000-7000-8000-000000000001")
    world.create("8d1ae5b6-0000-7000-8000-000000000002", kind="refund")
    world.create("8d1ae5b6-0000-7000-8000-000000000003", kind="webhook")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {"PAIDONCE_DSN": world.settings.dsn.get_secret_value(), "PAIDONCE_PROVIDER_URL": f"http://127.0.0.1:{port}"}
    program = (
        "from paidonce.app.settings import settings; from paidonce.workers import effects; effects.main(settings())"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | given)
    try:
        await until(lambda: len(world.rows("SELECT 1 FROM effect_history WHERE event = 'answered'")) >= 3, "answers")
        process.terminate()
        assert process.wait(BOUND_S) == 0
    finally:
        process.kill()
        process.wait(BOUND_S)
    assert dict(world.rows("SELECT kind, state FROM effects")) == {
        "charge": "pending",
        "refund": "pending",
        "webhook": "refused",
    }
    assert world.rows("SELECT reason FROM dead_letters") == [("no-endpoint",)]
