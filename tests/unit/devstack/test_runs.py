"""What a dead owner left is found and ended; what is anybody else's is left alone."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from paidonce.devstack.errors import StackError
from paidonce.devstack.leftovers import end_leftovers
from paidonce.devstack.processes import MARK, Command, Process
from paidonce.devstack.records import Record, record, records
from paidonce.devstack.runs import Run, live_folders, root, sweep
from paidonce.devstack.waiting import until

FOREVER = [sys.executable, "-c", "import signal; signal.pause()"]
#: Starts a child in a run, says where and who, and waits to be killed.
OWNER = """
import signal, sys
from paidonce.devstack.processes import Command
from paidonce.devstack.runs import Run
run = Run()
forever = [sys.executable, "-c", "import signal; signal.pause()"]
child = run.start(Command("child", forever, run.folder, run.environment({})))
print(run.folder, child.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of runs for this test alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield root()
    sweep()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def start_forever(run: Run, name: str = "child") -> Process:
    return run.start(Command(name, FOREVER, run.folder, run.environment({})))


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that no run knows."""
    process = subprocess.Popen(FOREVER)
    yield process
    process.kill()
    process.wait()


@pytest.mark.usefixtures("own_root")
def test_a_closed_run_leaves_no_process_and_no_folder() -> None:
    with Run() as run:
        child = start_forever(run)
        assert child.alive()
        assert run.folder in live_folders()
    assert gone(child.pid)
    assert not run.folder.exists()


@pytest.mark.usefixtures("own_root")
def test_a_closed_run_starts_nothing_more() -> None:
    run = Run()
    run.close()
    with pytest.raises(StackError, match="not started any more"):
        start_forever(run)


@pytest.mark.usefixtures("own_root")
def test_a_child_that_ignores_the_stop_is_killed() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    with Run() as run:
        child = run.start(Command("deaf", [sys.executable, "-c", deaf], run.folder, run.environment({})))
        until(lambda: "deaf" in child.tail(), within_s=20, what="the child to ignore SIGTERM")
        assert not child.stop(within_s=0.2)
        assert not child.alive()


@pytest.mark.usefixtures("own_root")
def test_a_stopped_child_is_woken_to_stop_in_order() -> None:
    with Run() as run:
        child = start_forever(run)
        child.send(signal.SIGSTOP)
        assert child.stop()


def test_the_next_start_ends_what_a_killed_owner_left(own_root: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        folder, pid = owner.stdout.readline().split()
    assert Path(folder).parent == own_root
    owner.kill()
    owner.wait()
    assert not gone(int(pid)), "the child outlives its owner"
    with Run():
        assert gone(int(pid))
        assert not Path(folder).exists()


def test_the_next_start_leaves_a_living_owners_run_alone(own_root: Path) -> None:
    with Run() as first:
        child = start_forever(first)
        with Run():
            assert child.alive()
            assert first.folder.exists()
        assert child.alive()
    assert list(own_root.glob("*/")) == []


def test_a_child_without_a_record_is_known_by_the_runs_mark(own_root: Path) -> None:
    folder = own_root / "0123456789ab"
    folder.mkdir()
    child = subprocess.Popen(FOREVER, env={**os.environ, MARK: folder.name})
    # Its environment is in place once it executes.
    until(lambda: MARK in psutil.Process(child.pid).environ(), within_s=20, what="the child to run")
    sweep()
    assert child.wait(timeout=20) == -signal.SIGKILL
    assert not folder.exists()


def test_a_pid_that_was_given_to_somebody_else_is_not_killed(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    earlier = psutil.Process(stranger.pid).create_time() - 60
    entry = Record("relay", stranger.pid, earlier)
    assert entry.process() is None
    end_leftovers({tmp_path: [entry]})
    assert stranger.poll() is None


def test_a_stranger_that_works_in_the_folder_is_not_killed(tmp_path: Path) -> None:
    stranger = subprocess.Popen(FOREVER, cwd=tmp_path)
    try:
        until(lambda: psutil.Process(stranger.pid).cwd() == str(tmp_path), within_s=20, what="the stranger to run")
        end_leftovers({tmp_path: []})
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.usefixtures("own_root")
def test_a_record_names_the_process_and_when_it_began() -> None:
    with Run() as run:
        child = start_forever(run)
        (entry,) = records(run.folder / "records")
        assert (entry.name, entry.pid) == ("child", child.pid)
        process = entry.process()
        assert process is not None
        assert process.pid == child.pid
        replacement = start_forever(run)
        assert [found.pid for found in records(run.folder / "records")] == [replacement.pid]


@pytest.mark.usefixtures("own_root")
@pytest.mark.parametrize("content", ["", "{", '{"name": "relay"}', "[1]", "null"])
def test_a_damaged_record_is_nobodys(tmp_path: Path, content: str) -> None:
    (tmp_path / "relay.json").write_text(content)
    assert records(tmp_path) == []


@pytest.mark.usefixtures("own_root")
def test_a_record_is_written_whole(tmp_path: Path) -> None:
    with Run() as run:
        record(tmp_path, start_forever(run))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["child.json"]
    assert json.loads((tmp_path / "child.json").read_text()).keys() == {"name", "pid", "created"}


def test_a_folder_of_somebody_else_is_refused(own_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = own_root.stat().st_uid + 1
    own_root.with_name(f"paidonce-{other}").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr("os.geteuid", lambda: other)
        with pytest.raises(StackError, match="belongs to somebody else"):
            root()
