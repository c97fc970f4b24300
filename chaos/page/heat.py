"""What do an atlas and a matrix look like? Tables whose cells have a colour and a sign, read from JSON.

`atlas.json`: which step was struck, before or after it, by what, and what the verdict was.
`matrix.json`: which safeguard was taken out, under which seed, and whether the named checker found it; and the same
plans with everything in place. Both lie in the folder that the page is written to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

Struck = Literal["valid", "invalid", "unknown", "unreached"]
Sought = Literal["found", "missed", "valid", "invalid", "unknown"]
SIGNS = {"valid": "✓", "invalid": "✗", "unknown": "?", "unreached": "·", "found": "✓", "missed": "✗"}
#: What a cell is to a reader: as it should be, not so, not proven, not there.
TONES = {
    "valid": "good",
    "found": "good",
    "invalid": "bad",
    "missed": "bad",
    "unknown": "doubt",
    "unreached": "nothing",
}
CONTROL = "everything in place"


class Strike(BaseModel):
    """One run of an atlas; a strike that was never reached is `unreached`."""

    step: str
    when: Literal["before", "after"]
    kind: str
    result: Struck
    why: str = ""


class Atlas(BaseModel):
    """Every step, reached or not, and every run."""

    steps: Sequence[str]
    strikes: Sequence[Strike]


class Trial(BaseModel):
    """One run of a matrix. `safeguard` None: nothing was taken out, and `valid` is what it should be."""

    safeguard: str | None
    plan: str
    seed: int
    result: Sought
    #: the checker that has to find it, and the first line of evidence
    checker: str = ""
    evidence: str = ""


class Matrix(BaseModel):
    """Every run."""

    trials: Sequence[Trial]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell; `tone` is its class."""

    sign: str
    tone: str
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its name, its cells, and what is to be said of it."""

    name: str
    cells: Sequence[Cell]
    remark: str = ""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A table of cells."""

    title: str
    #: in one sentence, what it comes to
    says: str
    columns: Sequence[str]
    rows: Sequence[Row]
    remark: str = ""


def heat_maps(folder: Path) -> list[HeatMap]:
    """Return what there is in the folder; raises pydantic.ValidationError for JSON of another shape."""
    found = []
    if (folder / "atlas.json").exists():
        found.append(of_atlas(Atlas.model_validate_json((folder / "atlas.json").read_bytes())))
    if (folder / "matrix.json").exists():
        found.append(of_matrix(Matrix.model_validate_json((folder / "matrix.json").read_bytes())))
    return found


def of_atlas(atlas: Atlas) -> HeatMap:
    """Return step × fault."""
    columns = list(dict.fromkeys((strike.kind, strike.when) for strike in atlas.strikes))
    runs = {(strike.step, strike.kind, strike.when): strike for strike in atlas.strikes}
    rows = [
        Row(step, [_cell(runs.get((step, *column)), f"{step}, {column[1]}, {column[0]}") for column in columns])
        for step in atlas.steps
    ]
    reached = sum(any(cell.tone != "nothing" for cell in row.cells) for row in rows)
    broken = sum(strike.result == "invalid" for strike in atlas.strikes)
    says = f"{reached} of {len(rows)} steps were struck, {len(atlas.strikes)} runs, {broken} of them invalid."
    return HeatMap("Atlas: every step struck", says, [f"{kind} {when}" for kind, when in columns], rows)


def of_matrix(matrix: Matrix) -> HeatMap:
    """Return safeguard × seed."""
    seeds = sorted({trial.seed for trial in matrix.trials})
    names = list(dict.fromkeys((trial.safeguard or CONTROL, trial.plan) for trial in matrix.trials))
    rows = []
    for name, plan in names:
        runs = {
            trial.seed: trial for trial in matrix.trials if ((trial.safeguard or CONTROL), trial.plan) == (name, plan)
        }
        first = next(iter(runs.values()))
        cells = [_cell(runs.get(seed), f"{name}, plan {plan}, seed {seed}") for seed in seeds]
        remark = f"{first.checker}: {first.evidence}".strip(": ") if first.safeguard else ""
        rows.append(Row(f"{name} · {plan}", cells, remark))
    taken_out = {trial.safeguard for trial in matrix.trials if trial.safeguard}
    missed = {trial.safeguard for trial in matrix.trials if trial.safeguard and trial.result != "found"}
    found = len(taken_out) - len(missed)
    says = f"{found} of {len(taken_out)} safeguards were missing and found so by the named checker."
    return HeatMap("Matrix: every safeguard taken out", says, [f"seed {seed}" for seed in seeds], rows, "evidence")


def _cell(run: Strike | Trial | None, title: str) -> Cell:
    if run is None:
        return Cell("", "nothing", f"{title}: not run")
    why = run.why if isinstance(run, Strike) else run.evidence
    return Cell(SIGNS[run.result], TONES[run.result], f"{title}: {run.result}{f', {why}' if why else ''}")
