import os
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from threading import Event

import pytest
import structlog
from sqlalchemy import Engine

from paidonce.app import db, steps
from paidonce.app.errors import SchemaVersionError
from paidonce.app.settings import Settings
from paidonce.workers import readiness, runner
from paidonce.workers.runner import Process, run


class TwiceError(Exception):
    """A disturbance."""


@pytest.fixture
def signals() -> Iterator[None]:
    """What a process sets up for itself at its start, taken back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    listeners = steps._listeners
    yield
    steps._listeners = listeners
    for number, handler in before.items():
        signal.signal(number, handler)
    structlog.reset_defaults()


def test_passes_go_on_until_the_stop_and_idle_after_an_empty_one() -> None:
    process, counts, idled = Process("test", Settings()), [3, 0, 5], []

    def run_once() -> int:
        count = counts.pop(0)
        if not counts:
            process.stop.set()  # by a signal it would also end in time, and this process is the tests' own
        return count

    run(process, run_once, idle_s=10, idle=idled.append)
    assert not counts
    assert len(idled) == 1
    assert 5 <= idled[0] <= 10
    assert process.readiness.loops["test"].well
    assert process.readiness.why_not() == "it stops"


def test_a_disturbance_is_tried_again_and_anything_else_crashes() -> None:
    process, errors = Process("test", Settings()), [TwiceError(), TwiceError(), ValueError("a bug")]

    def run_once() -> int:
        raise errors.pop(0)

    with pytest.raises(ValueError, match="a bug"):
        run(process, run_once, idle_s=10, is_transient=lambda error: isinstance(error, TwiceError))
    assert not errors
    assert "no pass has succeeded" in process.readiness.why_not()


def test_the_current_pass_is_finished_after_a_sigterm(signals: None, settings: Settings) -> None:
    bind = db.engine(settings)
    # The bound of a stop ends the whole process, which is the tests' own here.
    process, done = runner.start("test", settings.model_copy(update={"stop_s": 86_400.0}), bind), []

    def run_once() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("to the end")
        return 1

    run(process, run_once, idle_s=10)
    assert done == ["to the end"]
    bind.dispose()


def test_another_schema_version_is_refused(signals: None, settings: Settings) -> None:
    bind: Engine = db.engine(settings)
    with bind.begin() as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(SchemaVersionError, match="paidonce migrate"):
        runner.start("test", settings, bind)
    bind.dispose()


def test_readyz_tells_what_the_process_knows() -> None:
    reason = ["it starts"]
    server = readiness.serve("127.0.0.1", 0, lambda: reason[0])
    port = server.server_address[1]

    def status(path: str) -> int:
        connection = HTTPConnection("127.0.0.1", int(port), timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status

    assert status("/readyz") == 503
    assert status("/healthz") == 200
    reason[0] = ""
    assert status("/readyz") == 200
    assert status("/else") == 404
    server.shutdown()
    server.server_close()


def test_a_pass_or_a_pause_that_hangs_makes_it_not_ready() -> None:
    now = [0.0]
    known = readiness.Readiness(60.0, Event(), lambda: now[0])
    assert known.why_not() == "it starts"
    known.begins("a")
    assert "no pass has succeeded" in known.why_not()
    known.succeeded("a", pause_s=30.0)
    assert known.why_not() == ""
    now[0] = 91.0
    assert "longer than 60 s" in known.why_not(), "the pause did not end"
    known.begins("a")
    assert known.why_not() == "", "the last pass succeeded, and this one has only begun"
    now[0] += 61.0
    assert "longer than 60 s" in known.why_not(), "the pass did not end"


def test_one_loop_of_several_that_fails_or_hangs_is_enough() -> None:
    known = readiness.Readiness(60.0, Event())
    known.succeeded("charge", pause_s=0.0)
    known.begins("refund")
    assert known.why_not().startswith("refund: ")
    known.succeeded("refund", pause_s=0.0)
    assert known.why_not() == ""
    known.failed("charge")
    assert known.why_not().startswith("charge: ")
    known.stop.set()
    assert known.why_not() == "it stops"


def test_the_runner_says_when_its_pass_hangs() -> None:
    process, hanging = Process("test", Settings(worker_stuck_s=0.05)), Event()

    def run_once() -> int:
        while not process.readiness.why_not().startswith("test: a pass takes longer"):
            assert not hanging.wait(0.01)
        process.stop.set()
        return 1

    process.readiness.succeeded("test", pause_s=0.0)
    run(process, run_once, idle_s=10)
