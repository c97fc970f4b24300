"""What happens when one of our processes dies? It is started again, after a pause that grows."""

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Event, Lock, Thread

import httpx

from paidonce.devstack.errors import StackError, TooLateError
from paidonce.devstack.members import Member
from paidonce.devstack.processes import STOP_S, Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

#: Seconds between two looks at the children.
LOOK_S = 0.05

#: The pause before a restart doubles from the first to the most, and is the first again for one that lived long.
PAUSE_FIRST_S, PAUSE_MOST_S, LONG_S = 0.1, 2.0, 10.0

#: Seconds for one probe of readiness.
PROBE_S = 1.0

#: How one of ours is started, by its name: what stands before the arguments of `paidonce`.
Launch = Callable[[str], Sequence[str]]


def plainly(_name: str) -> Sequence[str]:
    """Start it as the command line does."""
    return [sys.executable, "-m", "paidonce.cli"]


class Supervisor:
    """Our processes of one run, watched from a thread."""

    def __init__(self, run: Run, launch: Launch = plainly) -> None:
        self._run, self._launch = run, launch
        self._members: dict[str, Member] = {}
        self._processes: dict[str, Process] = {}
        self._born: dict[str, float] = {}
        self._pause: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._held: set[str] = set()
        self._restarts: Counter[str] = Counter()
        #: set at each restart, for whoever tells others the process ids
        self.restarted = Event()
        self._stopping, self._one = Event(), Lock()
        self._watcher = Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self, members: Iterable[Member], env: Mapping[str, str]) -> None:
        """Start the processes, without waiting for them; `env` is common to them."""
        for member in members:
            self._members[member.name] = replace(member, env={**env, **member.env})
            self._spawn(member.name)

    def wait_ready(self, names: Iterable[str], *, within_s: float, report: Callable[[str], None]) -> None:
        """Wait until each is ready, and say which are.

        Raises:
            StackError: one ended before anybody watched, or some were not ready in time; shows what they said.
        """
        missing = list(names)
        with httpx.Client(trust_env=False, timeout=PROBE_S) as client:

            def looked() -> bool:
                for name in [name for name in missing if self._is_ready(client, name)]:
                    missing.remove(name)
                    report(f"{name} is ready" + (f"; waiting for {', '.join(missing)}" if missing else ""))
                return not missing

            try:
                until(looked, within_s=within_s, what="our processes")
            except TooLateError as error:
                said = "\n".join(f"{name}:\n{self.process(name).tail()}" for name in missing)
                raise StackError(f"not ready within {within_s:g} s: {', '.join(missing)}\n{said}") from error

    def watch(self) -> None:
        """From now on start again what dies."""
        self._watcher.start()

    def process(self, name: str) -> Process:
        """Return the process that bears the name now; raises StackError when none ever did."""
        if name not in self._processes:
            raise StackError(f"there is no process {name!r}: it is one of {', '.join(sorted(self._processes))}")
        return self._processes[name]

    def names(self) -> list[str]:
        """Return the names in the order of their start."""
        return [*self._processes]

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to the process that bears the name now; return its pid."""
        process = self.process(name)
        process.send(number)
        return process.pid

    def restarts(self, name: str) -> int:
        """Return how often it was started again."""
        return self._restarts[name]

    def hold(self, name: str) -> None:
        """Stop it, and leave it stopped until `release`."""
        with self._one:
            self._held.add(name)
        self.process(name).stop()

    def release(self, name: str) -> None:
        """Start again what `hold` stopped."""
        with self._one:
            self._held.discard(name)

    def stop(self) -> list[str]:
        """Stop all at once and in order; return who did not obey and was killed."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        for process in self._processes.values():
            process.ask_to_stop()
        end = time.monotonic() + STOP_S
        return [
            process.name
            for process in self._processes.values()
            if not process.end(within_s=max(0.0, end - time.monotonic()))
        ]

    def _is_ready(self, client: httpx.Client, name: str) -> bool:
        if not self._watcher.is_alive():
            self.process(name).check()
        url = self._members[name].ready_url
        if not url:
            return self.process(name).alive()
        try:
            return client.get(url).is_success or self._members[name].any_answer
        except httpx.TransportError:
            return False

    def _spawn(self, name: str) -> None:
        member = self._members[name]
        env = self._run.environment(member.env)
        argv = [*(member.program or self._launch(name)), *member.arguments]
        command = Command(name, argv, member.folder or self._run.folder, env, whole=member.whole)
        self._processes[name] = self._run.start(command)
        self._born[name] = time.monotonic()

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_S):
            with self._one:
                dead = [name for name in self._processes if name not in self._held and self._is_due(name)]
                for name in dead:
                    self._spawn(name)
                    self._restarts[name] += 1
                    self.restarted.set()

    def _is_due(self, name: str) -> bool:
        """Tell whether it is dead and its pause is over."""
        if self._processes[name].alive():
            return False
        now = time.monotonic()
        if name not in self._due:
            lived_long = now - self._born[name] > LONG_S
            pause = PAUSE_FIRST_S if lived_long else min(2 * self._pause.get(name, PAUSE_FIRST_S / 2), PAUSE_MOST_S)
            self._pause[name], self._due[name] = pause, now + pause
        if now < self._due[name]:
            return False
        del self._due[name]
        return True
