"""What do `paidonce chaos run`, `yours` and `check` do? Make a run, or read one, judge it, and say so.

Exit status: 0 valid, 1 invalid, 3 unknown.
"""

import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from secrets import randbelow
from typing import Any

import orjson
from rich.console import Console

from paidonce.chaos import evidence, page
from paidonce.chaos.conduct import conduct
from paidonce.chaos.facts import Result
from paidonce.chaos.plan import Plan, load
from paidonce.chaos.report import Report, repeat, report, show, write
from paidonce.chaos.run import Watcher, WorkloadError, nobody
from paidonce.chaos.screen import screen
from paidonce.chaos.shrink import Shrunk, shrink
from paidonce.chaos.yours import conduct as theirs
from paidonce.devstack.errors import StackError

EXIT = {"valid": 0, "invalid": 1, "unknown": 3}

#: Makes the run, with all or some of its faults, and leaves its evidence in the folder.
Make = Callable[[Path, Watcher, Collection[int] | None], Result]
#: Tells the command that makes the run again, with all or some of its faults.
Again = Callable[[Collection[int] | None], str]


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
    shrinks: bool = False,
) -> int:
    """Carry out the plan of that name or file, print its report and one line of JSON at the end; returns the status.

    `payments` or `seconds` go over the plan's; the evidence is in `folder` (`reports/<plan>-<time>` by default), and
    report.json is copied to `json`. A failing run is made again with fewer faults, where it `shrinks`.

    Raises:
        PlanError, StackError, WorkloadError: as `conduct`.
    """
    seed = randbelow(1_000_000) if seed is None else seed
    plan = sized(load(name), payments=payments, seconds=seconds)
    words = ["run", name, *_size_words(payments=payments, seconds=seconds, seed=seed)]
    words += ["--client", settings["kafka_client"]] if settings and "kafka_client" in settings else []
    again = _command([*words, *(word for safeguard in taken_out for word in ("--sabotage", safeguard))])

    def make(place: Path, watcher: Watcher, some: Collection[int] | None) -> Result:
        return conduct(
            plan, place, watcher, seed=seed, settings=settings, only=some, taken_out=taken_out, command=again(some)
        )

    welcome = (welcome or "[bold]Plan {plan}[/bold]: {says}. {payments} payments, seed {seed}.").format(
        plan=plan.name, says=plan.says, payments=plan.load.payments, seed=seed
    )
    return _carry_out(
        plan, make, again, only=only, folder=_folder(folder, plan.name), json=json, welcome=welcome, shrinks=shrinks
    )


def yours(
    pipeline: str,
    *,
    plan: str | None = None,
    payments: int | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    only: Collection[int] | None = None,
    folder: Path | None = None,
    json: Path | None = None,
    shrinks: bool = False,
) -> int:
    """Do the same to somebody else's pipeline, whose adapter is `pipeline`, `module:class`; returns the status.

    `plan` is a TOML file, by default chaos/yours/yours.toml.

    Raises:
        AdapterError, PlanError, StackError, WorkloadError: as `paidonce.chaos.yours.conduct`.
    """
    seed = randbelow(1_000_000) if seed is None else seed
    wanted = sized(load(plan or str(theirs.PLAN)), payments=payments, seconds=seconds)
    words = ["yours", pipeline, *(["--plan", plan] if plan else [])]
    again = _command([*words, *_size_words(payments=payments, seconds=seconds, seed=seed)])

    def make(place: Path, watcher: Watcher, some: Collection[int] | None) -> Result:
        return theirs.conduct(pipeline, wanted, place, watcher, seed=seed, only=some, command=again(some))

    welcome = f"[bold]{pipeline}[/bold]: {wanted.says}. {wanted.load.payments} payments, seed {seed}."
    return _carry_out(
        wanted, make, again, only=only, folder=_folder(folder, "yours"), json=json, welcome=welcome, shrinks=shrinks
    )


def _folder(folder: Path | None, name: str) -> Path:
    folder = folder or Path("reports") / f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _carry_out(
    plan: Plan,
    make: Make,
    again: Again,
    *,
    only: Collection[int] | None,
    folder: Path,
    json: Path | None,
    welcome: str,
    shrinks: bool,
) -> int:
    console = Console(soft_wrap=True, highlight=False)
    console.print(welcome)
    with screen(console, plan.load.payments) as watcher:
        made = report(make(folder, watcher, only))
    _leave(made, folder, console)
    shrunk = _shrunk(make, made, folder, console) if shrinks and made.verdict == "invalid" else None
    return _end(made, folder, json, _told(shrunk, again) if shrunk else None)


def check(folder: Path, json: Path | None = None) -> int:
    """Judge the evidence of an earlier run again, without a stack; raises EvidenceError."""
    made = report(evidence.load(folder))
    _leave(made, folder, Console(soft_wrap=True, highlight=False))
    return _end(made, folder, json)


def sized(plan: Plan, *, payments: int | None = None, seconds: float | None = None) -> Plan:
    """Return the plan with another load: so many payments, or so many seconds of its pace, or both."""
    if seconds is not None:
        size = {"seconds": seconds, "payments": payments or max(1, round(seconds * plan.load.pace))}
    else:
        size = {"payments": payments} if payments else {}
    return plan.model_copy(update={"load": plan.load.model_copy(update=size)})


def _size_words(*, payments: int | None, seconds: float | None, seed: int) -> list[str]:
    words = ["--seed", str(seed)]
    words += ["--payments", str(payments)] if payments else []
    return [*words, "--for", f"{seconds:g}"] if seconds else words


def _command(words: Sequence[str]) -> Again:
    """Return what tells the command that makes this run again, with all or `only` some of its faults."""

    def again(only: Collection[int] | None) -> str:
        some = [] if only is None else ["--only", ",".join(map(str, sorted(only)))]
        return shlex.join(["paidonce", "chaos", *words, *some])

    return again


def _shrunk(make: Make, made: Report, folder: Path, console: Console) -> Shrunk:
    """Make the run again with fewer faults, as long as it breaks one of the same promises."""
    broken = {checker.name for checker, _ in made.smallest}

    def fails(only: Sequence[int]) -> bool:
        place = folder / "shrink" / ("-".join(map(str, only)) or "none")
        place.mkdir(parents=True)
        try:
            result = make(place, nobody(), only)
        except (StackError, WorkloadError) as error:
            console.print(f"  no run: {error}", markup=False)
            return False
        again = report(result)
        write(again, place)
        return bool(broken & {checker.name for checker, _ in again.smallest})

    console.print("\n[bold]Which faults does it need?[/bold]")
    fired = [fault.number for fault in made.result.facts.faults if fault.fired_at is not None]
    return shrink(fired, fails, lambda words: console.print(f"  {words}"))


def _told(shrunk: Shrunk, again: Again) -> dict[str, Any]:
    return asdict(shrunk) | {"repeat": again(shrunk.only)}


def _leave(made: Report, folder: Path, console: Console) -> None:
    write(made, folder)
    page.write(folder, made)
    show(made, console, folder)


def _end(made: Report, folder: Path, json: Path | None, shrunk: Mapping[str, Any] | None = None) -> int:
    """Write what came of shrinking into report.json too, and the line for programs."""
    if shrunk:
        write(made, folder, shrunk)
    if json is not None:
        shutil.copyfile(folder / "report.json", json)
    summary = _summary(made, folder) | ({"shrunk": shrunk} if shrunk else {})
    sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    return EXIT[made.verdict]


def _summary(made: Report, folder: Path) -> dict[str, Any]:
    tried, found = made.figures["tried"], made.figures["found"]
    return {
        "verdict": made.verdict,
        "plan": made.result.plan,
        **({"pipeline": made.result.pipeline} if made.result.pipeline else {}),
        "seed": made.result.seed,
        "payments": tried["payments"],
        "requests": tried["requests"],
        "charges": found["charges"],
        "faults": tried["fired"],
        "missed": len(tried["faults"]) - sum(tried["fired"].values()),
        "drain_s": made.figures["drain_s"],
        "broken": [checker.name for checker, _ in made.smallest],
        "repeat": repeat(made.result),
        "report": str(folder),
    }
