"""What happens when everything is killed while customers pay? `paidonce demo` tries it, and says.

Exit status: 0 valid, 1 invalid, 3 unknown.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from secrets import randbelow

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from paidonce.chaos.facts import Fault
from paidonce.chaos.report import report as judged
from paidonce.chaos.report import show, write
from paidonce.chaos.run import Result, Watcher, execute, fresh_stack

EXIT = {"valid": 0, "invalid": 1, "unknown": 3}

WELCOME = """\
[bold]Paidonce: one key, at most one charge, whatever fails.[/bold]
{payments} payments, from clients that give up too early, ask again and send duplicates at once, go through
two replicas of an API, a relay, three consumers and an effects worker, on a real PostgreSQL and a real
Apache Kafka on this machine. Meanwhile each of these processes is killed with SIGKILL. Then the provider's
own journal, the Kafka topic, the tables and what the clients saw are held against each other. Seed {seed}.
"""


def demo(payments: int = 300, seed: int | None = None, report: Path | None = None, json: Path | None = None) -> int:
    """Run the demo and print its report; returns the exit status.

    Evidence goes to the folder `report` (`reports/demo-<time>` by default), and report.json to `json` too.
    """
    console = Console(soft_wrap=True, highlight=False)
    seed = randbelow(1_000_000) if seed is None else seed
    folder = report or Path("reports") / f"demo-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    console.print(WELCOME.format(payments=payments, seed=seed))
    made = judged(_run(console, folder, seed=seed, payments=payments))
    write(made, folder)
    if json is not None:
        shutil.copyfile(folder / "report.json", json)
    show(made, console, folder)
    return EXIT[made.verdict]


def _run(console: Console, folder: Path, *, seed: int, payments: int) -> Result:
    with _watching(console, payments) as watcher:
        watcher.says("starting PostgreSQL, Kafka and the processes")
        with fresh_stack() as running:
            try:
                watcher.says("paying")
                return execute(running, folder, watcher, seed=seed, payments=payments)
            finally:
                with suppress(FileExistsError):
                    shutil.copytree(running.run.folder / "logs", folder / "logs")


class _OnScreen(Watcher):
    """A progress bar on a terminal, a line for each kill elsewhere."""

    def __init__(self, console: Console, progress: Progress, payments: int) -> None:
        self._console = console
        self._progress = progress
        self._task = progress.add_task("", total=payments)

    def says(self, what: str) -> None:
        """Say what is being done."""
        if self._console.is_terminal:
            self._progress.update(self._task, description=what)
        else:
            self._console.print(what)

    def paid(self) -> None:
        """Count a payment."""
        self._progress.advance(self._task)

    def struck(self, fault: Fault) -> None:
        """Show a kill."""
        self.says(f"killed {fault.target}" if fault.fired_at else f"could not kill {fault.target}")

    def draining(self, stuck: Mapping[str, int]) -> None:
        """Show what is still open."""
        if self._console.is_terminal:
            self.says("waiting for " + (", ".join(f"{count} {what}" for what, count in stuck.items()) or "nothing"))


@contextmanager
def _watching(console: Console, payments: int) -> Iterator[_OnScreen]:
    columns = (BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _OnScreen(console, progress, payments)


if __name__ == "__main__":
    sys.exit(demo())
