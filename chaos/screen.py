"""Who follows a run at a terminal? A progress bar there, a line for each event elsewhere."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from paidonce.chaos.facts import Fault


class Screen:
    """A watcher of a run (chaos/run.py) that shows what it is told."""

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
        """Show a fault."""
        self.says(f"{fault.kind} {fault.target}: {fault.saw}")

    def draining(self, stuck: Mapping[str, int]) -> None:
        """Show what is still open."""
        if self._console.is_terminal:
            self.says("waiting for " + (", ".join(f"{count} {what}" for what, count in stuck.items()) or "nothing"))


@contextmanager
def screen(console: Console, payments: int) -> Iterator[Screen]:
    """Show a run of so many payments until the block ends."""
    columns = (BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Screen(console, progress, payments)
