"""How is one child process started, watched and stopped? Out of the terminal's reach, with its output in a file."""

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from paidonce.devstack.errors import StackError

#: Names the run in every child's environment: by it the next start knows a child whose record is missing.
MARK = "PAIDONCE_RUN"

#: Seconds to stop in, before SIGKILL.
STOP_S = 10.0


@dataclass(frozen=True)
class Command:
    """What to start, and how it likes to be stopped."""

    name: str
    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    #: the signal for an orderly stop
    stop: signal.Signals = signal.SIGTERM
    #: the account to run under when we are root; None: our own
    account: str | None = None
    #: whether signals go to all that it has started too: it may be a wrapper, or the head of several workers
    whole: bool = False


class Process:
    """One running child; its output is appended to the file `log`."""

    def __init__(self, command: Command, log: Path) -> None:
        self.command, self.log = command, log
        self._begin()

    @property
    def name(self) -> str:
        """The name in the stack, e.g. `relay`."""
        return self.command.name

    def again(self) -> None:
        """Start the same command once more after its end; raises StackError while it runs."""
        if self.alive():
            raise StackError(f"{self.name} is not started again: it still runs, as {self.pid}")
        self._begin()

    def said(self) -> str:
        """Return its output since it was started last."""
        with self.log.open("rb") as output:
            output.seek(self._log_begin)
            return output.read().decode(errors="replace")

    def alive(self) -> bool:
        """Tell whether it still runs; reaps it when it does not."""
        return self._popen.poll() is None

    @property
    def status(self) -> int | None:
        """How it ended, 0 in order; None while it runs."""
        return self._popen.poll()

    def check(self) -> None:
        """Raise StackError with the end of its output when it has ended."""
        if not self.alive():
            raise StackError(f"{self.name} ended with status {self._popen.returncode}:\n{self.tail()}")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended is left alone."""
        if not self.alive():
            return
        if self.command.whole:
            os.killpg(self.pid, number)
        else:
            self._popen.send_signal(number)

    def stop(self, *, within_s: float = STOP_S) -> bool:
        """Stop it in order; tells whether it obeyed and did not have to be killed."""
        self.ask_to_stop()
        return self.end(within_s=within_s)

    def ask_to_stop(self) -> None:
        """Send it the signal for an orderly stop, and wake it in case it sleeps by SIGSTOP."""
        self.send(self.command.stop)
        self.send(signal.SIGCONT)

    def end(self, *, within_s: float) -> bool:
        """Wait for its end, and kill it after that time; tells whether it ended by itself."""
        try:
            self._popen.wait(within_s)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._popen.wait()
            return False
        return True

    def tail(self, lines: int = 20) -> str:
        """Return the end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _begin(self) -> None:
        self._log_begin = self.log.stat().st_size if self.log.exists() else 0
        self._popen = self._start()
        self.pid = self._popen.pid
        #: seconds since the epoch; with the pid it names a process once and for all
        self.created = _created(self.pid)

    def _start(self) -> "subprocess.Popen[bytes]":
        command = self.command
        user, group = _identity(command.account)
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [*command.argv],
                cwd=command.cwd,
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal reaches only us, and we stop the others in order.
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )


def _identity(account: str | None) -> tuple[int | None, int | None]:
    if account is None:
        return None, None
    entry = pwd.getpwnam(account)
    return entry.pw_uid, entry.pw_gid


def _created(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
