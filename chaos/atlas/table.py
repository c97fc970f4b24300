"""What does an atlas look like, on the screen and for programs? Each step with its strikes, and how many were made."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paidonce.chaos.atlas.rounds import Outcome, Round
from paidonce.chaos.page.heat import SIGNS

COLOURS = {"valid": "green", "invalid": "red", "unknown": "yellow", "unreached": "dim"}
RESULTS = tuple(COLOURS)


def line(made: Round, rounds: int) -> str:
    """Say in one line what came of a round."""
    counts = Counter(one.result for one in made.outcomes)
    said = ", ".join(f"[{COLOURS[name]}]{counts[name]} {name}[/]" for name in RESULTS if counts[name])
    kind = made.outcomes[0].target.strike.kind
    lines = [f"round {made.number:>2} of {rounds}  {kind:9} {said}  {made.seconds:.1f} s"]
    lines += [f"    {one.target.strike.text}: {escape(one.why)}" for one in made.outcomes if one.why]
    return "\n".join(lines)


def coverage(steps: Sequence[str], outcomes: Sequence[Outcome]) -> float:
    """Return the share of the steps of which every strike was made: 1.0 is all of them."""
    missing = {one.target.strike.step for one in outcomes if one.struck is None}
    struck = {one.target.strike.step for one in outcomes}
    return sum(step in struck - missing for step in steps) / len(steps) if steps else 0.0


def document(steps: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return atlas.json (chaos/page/heat.py)."""
    return {
        "steps": list(steps),
        "strikes": [
            {
                "step": one.target.strike.step,
                "when": one.target.strike.when,
                "kind": one.target.strike.kind,
                "result": one.result,
                "why": one.why,
                "round": one.round,
                "process": one.struck.process if one.struck else None,
                "at": one.struck.at if one.struck else None,
            }
            for one in sorted(outcomes, key=lambda one: one.target.number)
        ],
    }


def summary(steps: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of the last line."""
    counts = Counter(one.result for one in outcomes)
    return {
        "steps": len(steps),
        "coverage": round(coverage(steps, outcomes), 4),
        "strikes": len(outcomes),
        **{name: counts[name] for name in RESULTS},
        "unreached_strikes": [one.target.strike.text for one in outcomes if one.result == "unreached"],
        "invalid_strikes": [one.target.strike.text for one in outcomes if one.result == "invalid"],
    }


def show(steps: Sequence[str], outcomes: Sequence[Outcome], console: Console) -> None:
    """Print step × strike."""
    made_in_order = sorted(outcomes, key=lambda one: one.target.number)
    columns = list(dict.fromkeys((one.target.strike.kind, one.target.strike.when) for one in made_in_order))
    cells = {(one.target.strike.step, one.target.strike.kind, one.target.strike.when): one for one in outcomes}
    table = Table("step", *[f"{kind} {when}" for kind, when in columns], "struck", box=None, padding=(0, 2))
    for step in steps:
        row = [cells.get((step, *column)) for column in columns]
        made = sum(one is not None and one.struck is not None for one in row)
        table.add_row(step, *[_cell(one) for one in row], f"{made} of {len(columns)}")
    console.print(table)


def _cell(one: Outcome | None) -> str:
    return "" if one is None else f"[{COLOURS[one.result]}]{SIGNS[one.result]}[/]"
