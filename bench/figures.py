"""How is a figure kept and shown? Ours beside a peer's, both from the same run, and whether its target is reached."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

COLUMNS = ("figure", "unit", "ours", "beside", "theirs", "ratio", "target", "reached")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of ours beside the same figure of a peer, or beside a limit."""

    figure: str
    unit: str
    ours: float
    #: the peer's name, or `limit`
    beside: str
    theirs: float
    #: the target: bounds of the ratio, both included; None: there is none on that side
    least: float | None = None
    most: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times theirs ours is; whether more is better depends on the unit. None: theirs is 0."""
        return round(self.ours / self.theirs, 3) if self.theirs else None

    @property
    def target(self) -> str | None:
        """The bounds of the ratio in words; None: the figure has no target."""
        bounds = [f"{word} {bound:g}" for word, bound in (("≥", self.least), ("≤", self.most)) if bound is not None]
        return " and ".join(bounds) or None

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None: the figure has none."""
        if self.target is None:
            return None
        # By the numbers themselves: a ratio that is rounded, or beside nothing, would hide what misses by little.
        enough = self.least is None or self.ours >= self.least * self.theirs
        return enough and (self.most is None or self.ours <= self.most * self.theirs)

    def row(self) -> dict[str, object]:
        """Return it as it stands in the file."""
        row = asdict(self) | {"ratio": self.ratio, "target": self.target, "reached": self.reached}
        return {name: row[name] for name in COLUMNS}


def write(figures: Sequence[Figure], json_file: Path) -> None:
    """Write the figures as a JSON list of objects."""
    json_file.write_text(json.dumps([figure.row() for figure in figures], indent=2) + "\n")


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the figures as a table."""
    table = Table()
    for name in COLUMNS[:-1]:
        table.add_column(name, justify="right" if name in {"ours", "theirs", "ratio"} else "left")
    for figure in figures:
        colour = {True: "green", False: "red", None: "default"}[figure.reached]
        *cells, verdict = _cells(figure)
        table.add_row(*cells, f"[{colour}]{verdict}[/{colour}]")
    console.print(table)


def markdown(figures: Sequence[Figure]) -> str:
    """Return the figures as a table for docs/performance.md."""
    rows = ["| figure | unit | ours | beside | theirs | ratio | target |", "|---|---|--:|---|--:|--:|---|"]
    return "\n".join([*rows, *(f"| {' | '.join(_cells(figure))} |" for figure in figures)])


def _cells(figure: Figure) -> list[str]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:,.2f}"
    words = {True: "reached", False: "missed", None: ""}[figure.reached]
    verdict = f"{figure.target}: {words}" if figure.target else ""
    return [figure.figure, figure.unit, _number(figure.ours), figure.beside, _number(figure.theirs), ratio, verdict]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 or value == int(value) else f"{value:,.2f}"
