"""What does `paidonce chaos matrix` do? It takes the safeguards out one after the other, and says which were missed.

Exit status: 0 when each was found and every control was valid, otherwise 1.
"""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from secrets import randbelow
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paidonce.chaos.matrix import Row, matrix, trials
from paidonce.chaos.run import nobody
from paidonce.chaos.sabotage import SAFEGUARDS

#: Lines of evidence that are shown for each.
EVIDENCE_LINES_MOST = 4


def run(safeguards: Sequence[str], *, seed: int | None, rounds: int, folder: Path | None, json: Path | None) -> int:
    """Make the matrix, print its table and one line of JSON at the end; returns the status.

    The evidence is in `folder` (`reports/matrix-<time>` by default), and its matrix.json is copied to `json`.

    Raises:
        PlanError: no plan finds one of the safeguards.
    """
    console, seed = Console(soft_wrap=True, highlight=False), randbelow(1_000_000) if seed is None else seed
    wanted = trials(safeguards or SAFEGUARDS, seed=seed, rounds=rounds)
    folder = folder or Path("reports") / f"matrix-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"[bold]Matrix[/bold]: {len(wanted)} runs, seed {seed}")
    rows = matrix(wanted, folder, nobody(), lambda row: console.print(line(row)))
    document = as_json(rows, seed=seed, rounds=rounds)
    content = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    (folder / "matrix.json").write_bytes(content)
    if json is not None:
        json.write_bytes(content)
    show(rows, console)
    summary = {name: value for name, value in document.items() if name != "rows"} | {"report": str(folder)}
    sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    return 0 if all(row.passed for row in rows) else 1


def line(row: Row) -> str:
    """Say in one line what came of a trial."""
    finds, plan = row.trial.finds, row.trial.plan.name
    if finds is None:
        what = "nothing taken out: " + ("valid" if row.passed else f"[red]{row.verdict}[/red]")
    else:
        what = f"{finds.safeguard} taken out: " + ("found" if row.passed else "[red]not found[/red]")
    said = escape(row.said) if row.said else ""
    return f"{row.seconds:5.1f} s  {plan:10} {what}{f' ({said})' if said else ''}"


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the matrix."""
    table = Table("without", "plan", "checker", "found", "the first evidence", box=None, padding=(0, 2))
    for row in rows:
        finds = row.trial.finds
        mark = ("[green]yes[/green]" if finds else "[green]valid[/green]") if row.passed else "[red]no[/red]"
        shown = "\n".join(escape(text) for text in (row.said, *row.evidence[:EVIDENCE_LINES_MOST]))
        names = (finds.safeguard, finds.checker) if finds else ("nothing", "all of them")
        table.add_row(names[0], row.trial.plan.name, names[1], mark, shown)
    console.print(table)


def as_json(rows: Sequence[Row], *, seed: int, rounds: int) -> dict[str, Any]:
    """Return the matrix for programs."""
    sabotaged, controls = [row for row in rows if row.trial.finds], [row for row in rows if not row.trial.finds]
    return {
        "found": sum(row.passed for row in sabotaged),
        "of": len(sabotaged),
        "not_found": [row.trial.name for row in sabotaged if not row.passed],
        "controls_valid": sum(row.passed for row in controls),
        "controls": len(controls),
        "controls_not_valid": [row.trial.name for row in controls if not row.passed],
        "seed": seed,
        "rounds": rounds,
        "seconds": round(sum(row.seconds for row in rows), 1),
        "rows": [_row(row) for row in rows],
    }


def _row(row: Row) -> dict[str, Any]:
    finds = row.trial.finds
    return {
        "round": row.trial.round,
        "seed": row.trial.seed,
        "plan": row.trial.plan.name,
        "taken_out": finds.safeguard if finds else None,
        "checker": finds.checker if finds else None,
        "passed": row.passed,
        "verdict": row.verdict,
        "said": row.said,
        "evidence": list(row.evidence),
        "besides": list(row.besides),
        "seconds": round(row.seconds, 1),
        "report": row.trial.name,
    }
