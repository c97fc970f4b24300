"""Real processes: killed with SIGKILL under load, killed by a message, joined by another in the midst of it."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from paidonce.workers.consumer_member import is_transient

#: Seconds between two looks at a process or a table.
LOOK_S = 0.05
SIGKILLED = -signal.SIGKILL


@pytest.fixture
def start(rig) -> Iterator[Callable[..., subprocess.Popen]]:
    running = []

    def begin(killer: str = "", **changed: object) -> subprocess.Popen:
        settings = rig.settings.model_copy(update=changed)
        named = {f"PAIDONCE_{name.upper()}": str(value) for name, value in settings if value is not None}
        named["PAIDONCE_DSN"] = settings.dsn.get_secret_value()
        named["PAIDONCE_PROVIDER_SECRET"] = settings.provider_secret.get_secret_value()
        script = Path(__file__).with_name("a_consumer.py")
        process = subprocess.Popen([sys.executable, str(script), rig.name, killer], env=os.environ | named)
        running.append(process)
        return process

    yield begin
    for process in running:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def until(is_so: Callable[[], bool]) -> None:
    """Look until it is so, for 60 s at most."""
    pause = Event()
    for _ in range(int(60 / LOOK_S)):
        if is_so():
            return
        pause.wait(LOOK_S)
    pytest.fail("not within 60 s")


@pytest.mark.parametrize(("when", "deaths"), [("now", 3), ("later", 2)])
def test_a_message_that_kills_its_process_is_a_dead_letter_after_some_starts_alone(rig, start, when, deaths) -> None:
    """Once in its batch and twice alone; a parked one always runs alone."""
    sent = [rig.event(str(n)) for n in range(12)]
    rig.send(sent)
    codes = []
    while codes[-1:] in ([], [SIGKILLED]) and len(codes) < 6:
        process = start(killer=f"{when}:5", consumer_batch=10, consumer_alone_starts=2, consumer_session_s=1.0)
        until(lambda: process.poll() is not None or (rig.committed() == 12 and rig.dead()))  # noqa: B023  called at once
        if process.poll() is None:
            process.terminate()
        codes.append(process.wait(timeout=20))
    assert codes == [SIGKILLED] * deaths + [0]
    assert [(row.message_id, row.key) for row in rig.dead()] == [(str(sent[5].id), "5")]
    assert "died each of the 2 times" in rig.dead()[0].reason
    assert rig.worked_keys() == [str(n) for n in range(12) if n != 5]
    assert held(rig) == set(), "given back at the end"


def test_a_kill_under_load_neither_loses_nor_repeats(rig, start) -> None:
    sent = [rig.event(f"{partition}-{n}") for partition in range(3) for n in range(200)]
    for partition in range(3):
        rig.send(sent[partition * 200 : partition * 200 + 200], partition)
    for so_far in (40, 320):
        process = start(consumer_batch=20, consumer_session_s=1.0)
        until(lambda: len(rig.worked()) >= so_far)  # noqa: B023  it is called at once
        process.kill()
        assert process.wait() == SIGKILLED
    last = start(consumer_batch=20, consumer_session_s=1.0)
    until(lambda: len(rig.worked()) >= 600)
    last.terminate()
    assert last.wait(timeout=20) == 0
    assert Counter(rig.worked()) == Counter(str(one.id) for one in sent)
    for partition in range(3):
        assert [key for key in rig.worked_keys() if key[0] == str(partition)] == [
            f"{partition}-{n}" for n in range(200)
        ]
    assert rig.dead() == []


def test_a_second_member_takes_its_share_and_nothing_is_done_twice(rig) -> None:
    sent = [rig.event(f"{partition}-{n}") for partition in range(3) for n in range(120)]
    for partition in range(3):
        rig.send(sent[partition * 120 : partition * 120 + 60], partition)
    first = rig.member(consumer_batch=7)
    rig.run(first, until=lambda: len(rig.worked()) >= 30)
    second = rig.member(consumer_batch=7)
    together = Threads(first, second)
    until(lambda: len(held(rig)) == 2)
    for partition in range(3):
        rig.send(sent[partition * 120 + 60 : partition * 120 + 120], partition)
    until(lambda: len(rig.worked()) >= 360)
    together.stop()
    rig.leave(second)
    rig.run(first, until=lambda: len(held(rig)) == 1)
    assert Counter(rig.worked()) == Counter(str(one.id) for one in sent)
    for partition in range(3):
        assert [key for key in rig.worked_keys() if key[0] == str(partition)] == [
            f"{partition}-{n}" for n in range(120)
        ]
    assert first.suspects == {0: 0, 1: 0, 2: 0}, "what is given back cleanly is under no suspicion"


def held(rig) -> set:
    return set(rig.column("SELECT holder FROM starts WHERE holder IS NOT NULL"))


class Threads:
    """Members that run side by side, as processes do."""

    def __init__(self, *members):
        self.stopped, self.errors = Event(), []
        self.threads = [Thread(target=self._run, args=[member]) for member in members]
        for thread in self.threads:
            thread.start()

    def _run(self, member):
        while not self.stopped.is_set():
            try:
                member.run_once()
            except Exception as error:
                if not is_transient(error):
                    self.errors.append(error)
                    raise

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(timeout=20)
        assert self.errors == []
