"""Figures, each beside its peer in the same run (docs/performance.md)."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from paidonce.bench import api, figures
from paidonce.bench.errors import BenchError

#: Name on the command line -> what returns its figures.
BENCHMARKS = {"api": api.measure}


def run(names: Sequence[str] | None = None, json_file: Path | None = None) -> None:
    """Run the named benchmarks (all of them by default), print their table and write it to `json_file`.

    Raises:
        BenchError: there is no such benchmark, or one has no figure.
    """
    unknown = set(names or ()) - set(BENCHMARKS)
    if unknown:
        raise BenchError(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    console = Console()
    found = [figure for name in names or BENCHMARKS for figure in BENCHMARKS[name](console)]
    figures.show(found, console)
    if json_file is not None:
        figures.write(found, json_file)
