"""What is a benchmark told by whoever runs it? Where to print, and which peers it may fetch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from rich.console import Console


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a run."""

    console: Console
    #: Debezium Server comes from Maven, 200 MB once: only who asks for it waits for it
    with_debezium: bool = False

    @contextmanager
    def stage(self, words: str) -> Iterator[None]:
        """Say what is being done, and at its end how long it took."""
        began = monotonic()
        with self.console.status(words):
            yield
        self.console.print(f"[dim]{monotonic() - began:5.1f} s[/dim]  {words}", highlight=False)
