"""What did a dead owner leave running? Only what can be shown to be its own is ended.

Shown by its record (pid and start), by the run's mark in its environment (for one killed between
starting a child and recording it), or, as PostgreSQL overwrites its environment, by being a
`postgres` that works inside the run's folder.
"""

import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from paidonce.devstack.errors import TooLateError
from paidonce.devstack.processes import MARK
from paidonce.devstack.records import Record
from paidonce.devstack.waiting import until

#: Seconds for PostgreSQL to end its children and free its shared memory.
QUIT_S = 5.0

#: Seconds for the kernel to end what was killed.
KILL_S = 5.0


def end_leftovers(runs: Mapping[Path, Sequence[Record]]) -> None:
    """End every process of the runs, given as folder and records."""
    found = {process.pid: process for records in runs.values() for process in _recorded(records)}
    found |= {process.pid: process for process in psutil.process_iter() if _belongs(process, [*runs])}
    left = list(found.values())
    for process in left:
        _send(process, signal.SIGCONT)
        if _is_postgres(process):
            _send(process, signal.SIGQUIT)
    with suppress(TooLateError):
        until(lambda: not any(_is_postgres(process) for process in left), within_s=QUIT_S, what="PostgreSQL to end")
    for process in left:
        _send(process, signal.SIGKILL)
    until(lambda: all(_gone(process) for process in left), within_s=KILL_S, what=f"processes {[*found]} to end")


def _recorded(records: Sequence[Record]) -> list[psutil.Process]:
    return [process for entry in records if (process := entry.process()) and not _gone(process)]


def _belongs(process: psutil.Process, folders: Sequence[Path]) -> bool:
    with suppress(psutil.Error, OSError):
        if process.environ().get(MARK) in {folder.name for folder in folders}:
            return not _gone(process)
        return process.name() == "postgres" and any(Path(process.cwd()).is_relative_to(folder) for folder in folders)
    return False


def _is_postgres(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.name() == "postgres" and not _gone(process)
    return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)


def _gone(process: psutil.Process) -> bool:
    # Where nobody reaps orphans, a killed one stays as a zombie, which holds nothing.
    with suppress(psutil.Error):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True
