"""Whose are these processes and folders, and does their owner still live?

Every start of the stack is a *run*: a folder whose lock its owner holds while it lives. The kernel
drops the lock however the owner dies, so a run whose lock is free is a dead one's: the next start
ends its processes and removes its folder.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from uuid import uuid4

from paidonce.devstack.errors import StackError
from paidonce.devstack.leftovers import end_leftovers
from paidonce.devstack.locks import locked, take_lock
from paidonce.devstack.processes import MARK, Command, Process
from paidonce.devstack.records import record, records
from paidonce.devstack.small_disk import unmount_below

LOCK = "lock"


def root() -> Path:
    """Return this user's folder of runs, made if need be; in TMPDIR, so that it is emptied at boot.

    Raises:
        StackError: somebody else made it.
    """
    folder = Path(tempfile.gettempdir()).resolve() / f"paidonce-{os.geteuid()}"
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise StackError(f"{folder} belongs to somebody else: remove it, or set TMPDIR")
    # The database server runs under another account when we are root, and must reach its folder.
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return folder


class Run:
    """One start of the stack: its folder, its children, its lock. Closing it stops and removes all."""

    def __init__(self) -> None:
        self._closing, self._children = ExitStack(), ExitStack()
        self._stopped, self._one = False, Lock()
        # Two starts must not take one's half-made folder for a dead one's.
        with locked(root() / LOCK):
            sweep()
            self.folder = root() / uuid4().hex[:12]
            self.folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700)
            lock = take_lock(self.folder / LOCK)
        self._closing.callback(os.close, lock)
        self._closing.callback(_remove, self.folder)
        # A Ctrl-C may come between the start of a child and our taking note of it.
        self._closing.callback(end_leftovers, {self.folder: []})
        self._closing.callback(self.stop)
        for name in ("logs", "records"):
            (self.folder / name).mkdir(mode=0o700)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a child: ours, the run's mark, and `more`."""
        return {**os.environ, MARK: self.folder.name, **more}

    def start(self, command: Command) -> Process:
        """Start a child and record it; raises StackError once the run is stopped, from whatever thread."""
        with self._one:
            if self._stopped:
                raise StackError(f"{command.name} is not started any more: the stack stops")
            process = Process(command, self.folder / "logs" / f"{command.name}.log")
            record(self.folder / "records", process)
            self._children.callback(process.stop)
        return process

    def restart(self, process: Process) -> None:
        """Start an ended child once more, as it was; raises StackError while it runs, or once the run is stopped."""
        with self._one:
            if self._stopped:
                raise StackError(f"{process.name} is not started any more: the stack stops")
            process.again()
            record(self.folder / "records", process)

    def at_close(self, undo: Callable[[], object]) -> None:
        """Call `undo` at the stop, before what was started earlier is stopped."""
        self._children.callback(undo)

    def stop(self) -> None:
        """Stop what was started, the last first, and start nothing any more; a second time does nothing.

        The folder stays for threads that still write to it: removed under their hands, it would come back.
        """
        with self._one:
            self._stopped = True
        self._children.close()

    def close(self) -> None:
        """Stop what was started, and remove the folder; a second time does nothing."""
        self._closing.close()


def live_folders() -> list[Path]:
    """Return the folders of the runs whose owner lives, the newest first."""
    folders = [folder for folder in root().iterdir() if folder.is_dir() and not _abandoned(folder)]
    # The lock is made at the start and never written; the folder changes with every restart of a child.
    return sorted(folders, key=lambda folder: (folder / LOCK).stat().st_mtime, reverse=True)


def sweep() -> None:
    """End and remove what dead owners left."""
    dead = [folder for folder in root().iterdir() if folder.is_dir() and _abandoned(folder)]
    if dead:
        end_leftovers({folder: records(folder / "records") for folder in dead})
    for folder in dead:
        _remove(folder)


def _remove(folder: Path) -> None:
    unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    try:
        os.close(take_lock(folder / LOCK, wait=False))
    except BlockingIOError:
        return False
    except FileNotFoundError:
        # Its owner removed it this moment.
        return True
    return True
