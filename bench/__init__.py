"""Figures, each beside its peer in the same run (docs/performance.md)."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from paidonce.app.errors import PaidonceError
from paidonce.bench import api, backlog, e2e, figures, gateways, inbox, latency, machine, outage, relay, tokens
from paidonce.bench.errors import BenchError
from paidonce.bench.figures import Figure
from paidonce.bench.terms import Terms
from paidonce.devstack.debezium_files import debezium_files

#: Columns of a table that goes to no terminal.
WIDTH = 140

#: Name on the command line -> what returns its figures.
BENCHMARKS: dict[str, Callable[[Terms], list[Figure]]] = {
    "api": api.measure,
    "relay": relay.measure,
    "backlog": backlog.measure,
    "latency": latency.measure,
    "inbox": inbox.measure,
    "e2e": e2e.measure,
    "token": tokens.measure,
    "gateway": gateways.measure,
    "outage": outage.measure,
}


def run(
    names: Sequence[str] | None = None,
    json_file: Path | None = None,
    *,
    with_debezium: bool = False,
    as_markdown: bool = False,
) -> None:
    """Run the named benchmarks (all of them by default), print their table and write it to `json_file`.

    Raises:
        BenchError: there is no such benchmark; or some have no figure, said after those of the others are kept.
        JarsUnobtainableError: Debezium Server is not here, and cannot be fetched.
    """
    unknown = set(names or ()) - set(BENCHMARKS)
    if unknown:
        raise BenchError(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    if with_debezium:
        debezium_files()  # the first time from Maven: now, or not at all
    # In a file or a pipe nobody widens the window.
    terms = Terms(Console(width=None if sys.stdout.isatty() else WIDTH), with_debezium)
    terms.console.print(machine.describe(), highlight=False)
    found: list[Figure] = []
    failed: list[str] = []
    for name in names or BENCHMARKS:
        try:
            found += BENCHMARKS[name](terms)
        except PaidonceError as error:
            # The others took minutes: what they found is not lost with this one.
            failed.append(f"{name}: {error}")
        if json_file is not None:
            figures.write(found, json_file)
    if as_markdown:
        print(figures.markdown(found))
    else:
        figures.show(found, terms.console)
    if failed:
        raise BenchError("no figure of " + "; ".join(failed))
