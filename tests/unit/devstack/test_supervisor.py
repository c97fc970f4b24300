"""What dies is started again, after a pause that grows; what is not ready is named."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paidonce.devstack import supervisor
from paidonce.devstack.errors import StackError
from paidonce.devstack.members import Member
from paidonce.devstack.ports import free_port
from paidonce.devstack.runs import Run
from paidonce.devstack.supervisor import Supervisor
from paidonce.devstack.waiting import until

#: Serves its folder on the port in its environment, or does at once what the variable says.
SERVER = """
import http.server, os
exec(os.environ.get("FIRST", ""))
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def member(name: str, **env: str) -> Member:
    port = free_port()
    return Member(name, [], f"http://127.0.0.1:{port}/", {"PORT": str(port), **env})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Run() as started:
        yield started


@contextmanager
def supervised(run: Run, *members: Member) -> Iterator[Supervisor]:
    made = Supervisor(run, lambda _name: [sys.executable, "-c", SERVER])
    made.start(members, {})
    try:
        yield made
    finally:
        made.stop()


def ready(made: Supervisor, *names: str, within_s: float = 60.0) -> list[str]:
    said: list[str] = []
    made.wait_ready(names, within_s=within_s, report=said.append)
    return said


def test_each_is_reported_as_it_becomes_ready(run: Run) -> None:
    with supervised(run, member("relay"), member("effects")) as made:
        said = ready(made, "relay", "effects")
    assert sorted(line.split()[0] for line in said) == ["effects", "relay"]
    assert said[-1].endswith("is ready")


def test_what_dies_is_started_again_and_counted(run: Run) -> None:
    with supervised(run, member("relay"), member("effects")) as made:
        ready(made, "relay", "effects")
        made.watch()
        first = made.kill("relay")
        until(lambda: made.restarts("relay") == 1, within_s=30, what="the restart")
        assert made.process("relay").pid != first
        ready(made, "relay")
        assert made.restarts("effects") == 0


def test_one_that_keeps_dying_is_started_again_and_again_ever_more_slowly(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_FIRST_S", 0.01)
    with supervised(run, member("relay", FIRST="raise SystemExit(1)")) as made:
        made.watch()
        until(lambda: made.restarts("relay") >= 3, within_s=60, what="three restarts")
        assert made._pause["relay"] >= 0.04


def test_what_is_held_stays_down_until_it_is_released(run: Run) -> None:
    with supervised(run, member("relay"), member("effects")) as made:
        ready(made, "relay", "effects")
        made.watch()
        made.hold("relay")
        made.kill("effects")
        until(lambda: made.restarts("effects") == 1, within_s=30, what="the other's restart")
        assert not made.process("relay").alive()
        made.release("relay")
        until(lambda: made.restarts("relay") == 1, within_s=30, what="the restart")


def test_one_that_ends_while_starting_is_named_with_what_it_said(run: Run) -> None:
    failing = member("relay", FIRST="raise SystemExit('no such database')")
    expected = pytest.raises(StackError, match=r"relay ended with status 1:\nno such database")
    with supervised(run, failing) as made, expected:
        ready(made, "relay")


def test_one_that_never_becomes_ready_is_named(run: Run) -> None:
    silent = member("relay", FIRST="import signal; print('thinking', flush=True); signal.pause()")
    with supervised(run, silent, member("effects")) as made:
        ready(made, "effects")
        until(lambda: "thinking" in made.process("relay").tail(), within_s=30, what="the silent one")
        with pytest.raises(StackError, match=r"(?s)not ready within 0.1 s: relay\n.*thinking"):
            ready(made, "relay", within_s=0.1)


def test_who_does_not_obey_is_killed_and_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_S", 0.2)
    deaf = member("relay", FIRST="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    with supervised(run, deaf, member("effects")) as made:
        ready(made, "relay", "effects")
        assert made.stop() == ["relay"]
        assert not made.process("relay").alive()


def test_a_name_that_nobody_bears_is_refused(run: Run) -> None:
    with supervised(run, member("relay")) as made, pytest.raises(StackError, match="it is one of relay"):
        made.kill("replay", signal.SIGTERM)
