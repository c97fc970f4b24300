"""How does somebody else's pipeline stand on this machine? Our servers and our provider, then its own programs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from paidonce.app.settings import Settings
from paidonce.chaos.adapter import Adapter, Ground, Pipeline, Program
from paidonce.chaos.run import PROVIDER
from paidonce.devstack.errors import StackError, TooLateError
from paidonce.devstack.members import Member, Ports, journal, outsiders
from paidonce.devstack.pace import environment
from paidonce.devstack.ports import free_port
from paidonce.devstack.processes import Command
from paidonce.devstack.runs import Run
from paidonce.devstack.servers import start_servers
from paidonce.devstack.standing import Standing
from paidonce.devstack.supervisor import Supervisor, plainly
from paidonce.devstack.waiting import until

#: Ports that an adapter gets: more than a pipeline on one machine has listeners.
PORTS = 16
#: Seconds that a program may take which is run to its end: a migration of an empty database.
ONCE_WITHIN_S = 60.0
#: The one process beside the pipeline's own: the witness.
WITNESS = "provider"


class YourStack(Standing):
    """Somebody's pipeline on fresh servers while the `with` block lasts; leaves no process and no file.

    `settings` are of the provider's simulator, by field name (`simulator_…`).

    Raises:
        StackError: something did not start; says what was waited for, and what it said last.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        settings: Mapping[str, Any] | None = None,
        report: Callable[[str], None] = lambda _words: None,
    ) -> None:
        self._adapter, self._settings, self._report = adapter, {**PROVIDER, **(settings or {})}, report
        self._closing = ExitStack()
        self.pipeline: Pipeline
        self.ground: Ground

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self.run = started.enter_context(Run())
            self._start(started)
            self._closing = started.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.close()

    @property
    def journal(self) -> str:
        """The path of the simulator's journal."""
        return str(journal(self.run.folder))

    def targets(self) -> list[str]:
        """Return the names of the programs that faults aimed at everybody strike."""
        return [program.name for program in self.pipeline.programs() if program.struck and not program.once]

    def _start(self, started: ExitStack) -> None:
        ports = Ports([])
        self._supervisor = Supervisor(self.run, lambda name: plainly(name) if name == WITNESS else ())
        started.callback(self._stop)
        self._supervisor.start(outsiders(ports, self.run.folder, api_url=""), environment(self._settings))
        self._servers = start_servers(self.run, Settings(), durable=True, report=self._report)
        self.ground = Ground(
            dsn=self._servers.postgres.dsn,
            kafka=self._servers.kafka.bootstrap,
            valkey=self._servers.valkey.url,
            provider=ports.provider_url,
            ports=tuple(free_port() for _ in range(PORTS)),
            folder=self.run.folder,
        )
        self.pipeline = self._adapter(self.ground)
        self._start_programs(self.pipeline.programs())
        self.wait_ready()
        self._supervisor.watch()

    def _start_programs(self, programs: Sequence[Program]) -> None:
        for program in programs:
            if program.once:
                self._run_once(program)
            else:
                self._supervisor.start([_member(program)], {})

    def _run_once(self, program: Program) -> None:
        """Run it to its end, with those before it at work."""
        self.wait_ready()
        env = self.run.environment(program.env)
        process = self.run.start(Command(program.name, program.argv, program.folder or self.run.folder, env))
        try:
            until(lambda: process.status is not None, within_s=ONCE_WITHIN_S, what=f"the end of {program.name}")
        except TooLateError as error:
            raise StackError(f"{error}; it said:\n{process.tail()}") from error
        if process.status:
            raise StackError(f"{program.name} ended with status {process.status}:\n{process.tail()}")
        self._report(f"{program.name} is done")


def _member(program: Program) -> Member:
    return Member(program.name, program.argv, program.ready, dict(program.env), folder=program.folder, whole=True)
