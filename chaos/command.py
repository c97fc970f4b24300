"""What do `paidonce chaos run` and `paidonce chaos check` do? Make a run, or read one, judge it, and say so.

Exit status: 0 valid, 1 invalid, 3 unknown.
"""

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from secrets import randbelow
from typing import Any

import orjson
from rich.console import Console

from paidonce.chaos import evidence
from paidonce.chaos.conduct import conduct
from paidonce.chaos.plan import Plan, load
from paidonce.chaos.report import Report, report, show, write
from paidonce.chaos.screen import screen

EXIT = {"valid": 0, "invalid": 1, "unknown": 3}


def run(
    name: str,
    *,
    payments: int | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    only: Collection[int] | None = None,
    taken_out: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    json: Path | None = None,
    welcome: str | None = None,
) -> int:
    """Carry out the plan of that name or file, print its report and one line of JSON at the end; returns the status.

    `payments` or `seconds` go over the plan's; the evidence is in `folder` (`reports/<plan>-<time>` by default), and
    report.json is copied to `json`.

    Raises:
        PlanError, StackError, WorkloadError: as `conduct`.
    """
    console, seed = Console(soft_wrap=True, highlight=False), randbelow(1_000_000) if seed is None else seed
    plan = sized(load(name), payments=payments, seconds=seconds)
    folder = folder or Path("reports") / f"{plan.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    console.print(
        (welcome or "[bold]Plan {plan}[/bold]: {says}. {payments} payments, seed {seed}.").format(
            plan=plan.name, says=plan.says, payments=plan.load.payments, seed=seed
        )
    )
    with screen(console, plan.load.payments) as watcher:
        made = report(conduct(plan, folder, watcher, seed=seed, settings=settings, only=only, taken_out=taken_out))
    return _judged(made, folder, console, json)


def check(folder: Path, json: Path | None = None) -> int:
    """Judge the evidence of an earlier run again, without a stack; raises EvidenceError."""
    return _judged(report(evidence.load(folder)), folder, Console(soft_wrap=True, highlight=False), json)


def sized(plan: Plan, *, payments: int | None = None, seconds: float | None = None) -> Plan:
    """Return the plan with another load: so many payments, or so many seconds of its pace, or both."""
    if seconds is not None:
        size = {"seconds": seconds, "payments": payments or max(1, round(seconds * plan.load.pace))}
    else:
        size = {"payments": payments} if payments else {}
    return plan.model_copy(update={"load": plan.load.model_copy(update=size)})


def _judged(made: Report, folder: Path, console: Console, json: Path | None) -> int:
    write(made, folder)
    if json is not None:
        shutil.copyfile(folder / "report.json", json)
    show(made, console, folder)
    sys.stdout.write(orjson.dumps(_summary(made, folder)).decode() + "\n")
    return EXIT[made.verdict]


def _summary(made: Report, folder: Path) -> dict[str, Any]:
    tried, found = made.figures["tried"], made.figures["found"]
    return {
        "verdict": made.verdict,
        "plan": made.result.plan,
        "seed": made.result.seed,
        "payments": tried["payments"],
        "requests": tried["requests"],
        "charges": found["charges"],
        "faults": tried["fired"],
        "missed": len(tried["faults"]) - sum(tried["fired"].values()),
        "drain_s": made.figures["drain_s"],
        "broken": [checker.name for checker, _ in made.smallest],
        "report": str(folder),
    }
