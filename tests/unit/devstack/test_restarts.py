"""A server that was killed comes back as the same child: its command, name and record, and it ends with the run."""

import signal
import sys

import pytest

from paidonce.devstack.errors import StackError
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.records import records
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

SAYS_ITS_PID = "import os, signal; print(os.getpid(), flush=True); signal.pause()"


def started(run: Run) -> Process:
    process = run.start(Command("server", [sys.executable, "-c", SAYS_ITS_PID], run.folder, run.environment({})))
    until(lambda: process.said() != "", within_s=20, what="its first word")
    return process


def test_a_child_that_was_killed_comes_back_under_its_name_and_goes_with_its_run() -> None:
    with Run() as run:
        process = started(run)
        first = process.pid
        process.send(signal.SIGKILL)
        until(lambda: not process.alive(), within_s=20, what="its end")
        run.restart(process)
        assert process.pid != first
        assert [(one.name, one.pid) for one in records(run.folder / "records")] == [("server", process.pid)]
        until(lambda: process.said() != "", within_s=20, what="its first word")
        # What it said in its first life is in the log, and is not taken for what it says now.
        assert process.said() == f"{process.pid}\n"
        assert process.log.read_text() == f"{first}\n{process.pid}\n"
    assert not process.alive()


def test_a_child_that_runs_is_not_started_beside_itself() -> None:
    with Run() as run:
        process = started(run)
        pid = process.pid
        with pytest.raises(StackError, match="still runs"):
            run.restart(process)
        assert process.pid == pid
        assert process.alive()


def test_nothing_is_started_again_once_the_run_is_closed() -> None:
    with Run() as run:
        process = started(run)
    with pytest.raises(StackError, match="the stack stops"):
        run.restart(process)
    assert not process.alive()
