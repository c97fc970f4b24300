"""Two relays under load, killed before and after every step: each committed event once, in order per key."""

import importlib.util
import json
import os
import random
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest

from paidonce.app import db, steps
from paidonce.devstack.pace import environment
from paidonce.workers import relay as _every_step_of_a_relay  # noqa: F401  names are known once it is imported

#: The steps of a relay's way: a kill before and one after each.
PATH = [
    "leases.acquire",
    "leases.renew",
    "leases.sweep",
    "relay.check_shards",
    "relay.fix",
    "relay.fence",
    "relay.confirm",
    "relay.record",
    "relay.send",
    "relay.add_number",
    "relay.commit",
    "relay.mark_published",
]
#: Steps that need more than load to be passed: a failed window, an orderly end.
BROUGHT_ABOUT = {
    "relay.abort": {"fail": "relay.add_number"},
    "relay.release": {"stop": True},
    "leases.release": {"stop": True},
    "leases.remove": {"stop": True},
}
#: The cleaner's, and those of lives that this test does not lead: test_left_open.py has its own for `end_open`.
ELSEWHERE = {"relay.remove_windows", "relay.end_open"}
#: The steps of the publish path itself, for the quick test.
CORE = ["relay.fence", "relay.record", "relay.send", "relay.add_number", "relay.commit"]
#: Steps that a relay passes again and again; the others come once in its life, or once for a shard.
OFTEN = {"leases.renew", "relay.record", "relay.send", "relay.add_number", "relay.commit", "relay.mark_published"}
WHENS = ("before", "after")

SIGKILLED = -9
#: Seconds for one relay to be struck: it starts, gets a shard within a lease, and comes by; the rest is for a machine
#: that is busy.
STRUCK_WITHIN_S = 150.0
#: Seconds between two events of a writer while a relay is to come to rest.
TRICKLE_S = 0.3
CLIENTS = [
    "kafka-python",
    pytest.param(
        "librdkafka",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("confluent_kafka") is None, reason="the extra `librdkafka` is not installed"
        ),
    ),
]


class Slot:
    """One relay after the other, each struck; a line of the launcher's output is an item of `said`."""

    def __init__(self, settings: Any, log: Path) -> None:
        named = {name: getattr(settings, name) for name in settings.model_fields_set if name != "provider_secret"}
        self._log = log.open("ab")
        self._launcher = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("struck_relay.py"))],
            env=os.environ | environment(named | {"dsn": settings.dsn.get_secret_value()}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._said: Queue[str] = Queue()
        self.pid = 0
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._launcher.stdout:
            # The product logs to the same place.
            if line.startswith(("pid ", "code ")):
                self._said.put(line)

    def start(self, planned: dict[str, Any]) -> None:
        self._launcher.stdin.write(json.dumps(planned) + "\n")
        self._launcher.stdin.flush()
        self.pid = int(self._said.get(timeout=STRUCK_WITHIN_S).split()[1])

    def ended(self, within_s: float) -> int | None:
        """Its exit code; None while it lives."""
        try:
            code = int(self._said.get(timeout=within_s).split()[1])
        except Empty:
            return None
        self.pid = 0
        return code

    def kill(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, 9)
        self._launcher.kill()
        self._launcher.wait()
        self._log.close()


@pytest.fixture
def slots(settings: Any, tmp_path: Path) -> Iterator[Any]:
    made: list[Slot] = []

    def make(**options: Any) -> Slot:
        made.append(Slot(settings.model_copy(update=options), tmp_path / "relays.log"))
        return made[-1]

    yield make
    for slot in made:
        slot.kill()


def carry_out(plan: list[dict[str, Any]], slots: list[Slot], rig: Any, load: Any, *, at_once: bool) -> None:
    """Keep each slot's relay running, one strike after the other, until every one of the plan has killed."""
    left, running = deque(plan), {}
    for slot in slots:
        running[slot] = (left.popleft(), monotonic() + STRUCK_WITHIN_S)
        slot.start(running[slot][0])
    full_s = load.pause_s
    while running:
        # A shard says that it is idle only when it is.
        at_rest = any(planned["step"] == "relay.mark_published" for planned, _ in running.values())
        load.pause_s = TRICKLE_S if at_rest else full_s
        for slot, (planned, deadline) in list(running.items()):
            pid, code = slot.pid, slot.ended(0.02)
            if code is None:
                assert monotonic() < deadline, f"{planned} did not come by"
                continue
            assert code == SIGKILLED, f"{planned} ended with {code}"
            if at_once:
                expire(rig, pid)
            running.pop(slot)
            if left:
                running[slot] = (left.popleft(), monotonic() + STRUCK_WITHIN_S)
                slot.start(running[slot][0])


def expire(rig: Any, pid: int) -> None:
    """The time of the dead relay's leases is over: what else would take seconds for each death."""
    rig.rows("UPDATE leases SET expires_at = now() - interval '1 second' WHERE owner LIKE %s", f"%:{pid}:%")


def finish(slots: list[Slot], rig: Any) -> int:
    """Let unstruck relays publish what is left; return the events on the topic."""
    for slot in slots:
        slot.start({})
    pause, deadline = Event(), monotonic() + STRUCK_WITHIN_S
    while not rig.is_drained():
        assert monotonic() < deadline, "the backlog does not drain"
        pause.wait(0.05)
    return rig.check_exactly_once()


def strike(step: str, when: str, nth: int) -> dict[str, Any]:
    return {"step": step, "when": when, "nth": nth} | BROUGHT_ABOUT.get(step, {})


def test_every_step_of_a_relay_is_in_the_plan() -> None:
    named = {name for name in steps.names() if name.startswith(("relay.", "leases."))}
    assert named - ELSEWHERE == {*PATH, *BROUGHT_ABOUT}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "client", [CLIENTS[0], pytest.param("librdkafka", marks=[*CLIENTS[1].marks, pytest.mark.slow])]
)
def test_killed_before_and_after_each_step_of_the_publish_path(rig: Any, slots: Any, writers: Any, client: str) -> None:
    # The second time past a step of a window: then one has been published before.
    plan = [strike(step, when, 2 if step in OFTEN else 1) for step in CORE for when in WHENS]
    random.shuffle(plan)
    pair = [slots(kafka_client=client) for _ in range(2)]
    with writers(db.libpq_dsn(rig.settings)) as load:
        carry_out(plan, pair, rig, load, at_once=True)
    assert finish(pair, rig) > 100


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("client", CLIENTS)
def test_many_rounds_of_kills_under_load(rig: Any, slots: Any, writers: Any, client: str) -> None:
    """Every step of a relay, five times over at random passes, and every other time the lease's own time runs out."""
    for round_ in range(5):
        way = [*PATH, *BROUGHT_ABOUT]
        plan = [strike(step, when, random.randint(1, 4) if step in OFTEN else 1) for step in way for when in WHENS]
        random.shuffle(plan)
        pair = [slots(kafka_client=client, relay_window_events=random.choice([20, 200, 2_000])) for _ in range(2)]
        with writers(db.libpq_dsn(rig.settings), pause_s=0.002) as load:
            carry_out(plan, pair, rig, load, at_once=round_ % 2 == 0)
        assert finish(pair, rig) > 1_000
        for slot in pair:
            slot.kill()
