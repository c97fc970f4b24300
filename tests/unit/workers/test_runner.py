import os
import signal
from collections.abc import Iterator
from http.client import HTTPConnection

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
    process, counts, idled = Process("test"), [3, 0, 5], []

    def run_once() -> int:
        count = counts.pop(0)
        if not counts:
            process.request_stop()
        return count

    run(process, run_once, idle_s=10, idle=idled.append)
    assert not counts
    assert len(idled) == 1
    assert 5 <= idled[0] <= 10
    assert process.ready


def test_a_disturbance_is_tried_again_and_anything_else_crashes() -> None:
    process, errors = Process("test"), [TwiceError(), TwiceError(), ValueError("a bug")]

    def run_once() -> int:
        raise errors.pop(0)

    with pytest.raises(ValueError, match="a bug"):
        run(process, run_once, idle_s=10, is_transient=lambda error: isinstance(error, TwiceError))
    assert not errors
    assert not process.ready


def test_the_current_pass_is_finished_after_a_sigterm(signals: None, settings: Settings) -> None:
    bind = db.engine(settings)
    process, done = runner.start("test", settings, bind), []

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
    ready = [False]
    server = readiness.serve("127.0.0.1", 0, lambda: ready[0])
    port = server.server_address[1]

    def status(path: str) -> int:
        connection = HTTPConnection("127.0.0.1", int(port), timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status

    assert status("/readyz") == 503
    assert status("/healthz") == 200
    ready[0] = True
    assert status("/readyz") == 200
    assert status("/else") == 404
    server.shutdown()
    server.server_close()
