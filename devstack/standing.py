"""What stands while a run lasts? Servers, and processes that are started again when they die: what faults act on."""

import signal

from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run
from paidonce.devstack.servers import Report, Servers
from paidonce.devstack.supervisor import Supervisor

#: Seconds until every process works: about 4 on a quiet machine of 2 cores.
READY_S = 90.0


class Standing:
    """The servers and the supervised processes of one run; whoever starts them sets the members below."""

    run: Run
    _servers: Servers
    _supervisor: Supervisor
    _report: Report

    @property
    def servers(self) -> Servers:
        """The servers, for who stops, kills and starts them again."""
        return self._servers

    def pids(self) -> dict[str, int]:
        """Return the process ids by name, servers of ours included."""
        ours = {name: self.process(name).pid for name in self._supervisor.names()}
        return ours | self._servers.pids()

    def names(self) -> list[str]:
        """Return the names of the supervised processes, servers left out."""
        return self._supervisor.names()

    def process(self, name: str) -> Process:
        """Return the supervised process that bears the name now."""
        return self._supervisor.process(name)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a supervised process; return the pid that got it."""
        return self._supervisor.kill(name, number)

    def hold(self, name: str) -> None:
        """Stop a supervised process, and leave it stopped until `release`."""
        self._supervisor.hold(name)

    def release(self, name: str) -> None:
        """Start again what `hold` stopped."""
        self._supervisor.release(name)

    def restarts(self, name: str) -> int:
        """Return how often a supervised process was started again."""
        return self._supervisor.restarts(name)

    def wait_restart(self) -> None:
        """Wait until a supervised process was started again since the last call."""
        self._supervisor.restarted.wait()
        self._supervisor.restarted.clear()

    def wait_ready(self, *names: str, within_s: float = READY_S) -> None:
        """Wait until these processes are ready, by default all; raises StackError."""
        self._supervisor.wait_ready(names or self._supervisor.names(), within_s=within_s, report=self._report)

    def _stop(self) -> None:
        for name in self._supervisor.stop():
            self._report(f"{name} did not stop by itself, and was killed")
