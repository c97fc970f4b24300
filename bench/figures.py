"""How is a figure kept and shown? Ours beside a peer's, both from the same run."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of ours beside the same figure of a peer."""

    figure: str
    unit: str
    ours: float
    #: the peer's name
    beside: str
    theirs: float

    @property
    def ratio(self) -> float:
        """How many times theirs ours is; whether more is better depends on the unit."""
        return round(self.ours / self.theirs, 3)


def write(figures: Sequence[Figure], json_file: Path) -> None:
    """Write the figures as a JSON list of objects."""
    rows = [asdict(figure) | {"ratio": figure.ratio} for figure in figures]
    json_file.write_text(json.dumps(rows, indent=2) + "\n")


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the figures as a table."""
    table = Table("figure", "unit", "beside")
    for name in ("ours", "theirs", "ratio"):
        table.add_column(name, justify="right")
    for figure in figures:
        numbers = (f"{figure.ours:,.1f}", f"{figure.theirs:,.1f}", f"{figure.ratio:.2f}")
        table.add_row(figure.figure, figure.unit, figure.beside, *numbers)
    console.print(table)
