"""What does `paidonce chaos atlas` do? It strikes every step of the product, and says which strikes were got over.

Exit status: 0 when every strike that was made is valid and 95 % of the steps were covered, otherwise 1.
"""

import shutil
import sys
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from secrets import randbelow
from time import monotonic

import orjson
from rich.console import Console

from paidonce.app import db
from paidonce.chaos import evidence, page
from paidonce.chaos.atlas import ground as grounds
from paidonce.chaos.atlas import table
from paidonce.chaos.atlas.apart import is_in_doubt, take_apart
from paidonce.chaos.atlas.ground import Ground
from paidonce.chaos.atlas.judge import Judge, subject_of
from paidonce.chaos.atlas.load import Till
from paidonce.chaos.atlas.rounds import Round, strike
from paidonce.chaos.atlas.targets import KINDS, Target, rounds, targets
from paidonce.chaos.facts import Drained, Result
from paidonce.chaos.fault_log import faults
from paidonce.chaos.intents import TENANTS
from paidonce.chaos.orders import Desk
from paidonce.chaos.report import Report, report, show, write
from paidonce.chaos.run import ask, merchants, webhook_secret

#: The share of the steps of which every strike must have been made.
COVERAGE_LEAST = 0.95
#: Seconds within which everything must be final after a round.
DRAIN_WITHIN_S = 30.0


class NoSuchStepError(Exception):
    """No step has a name that fits."""


def run(*, pattern: str, kinds: Collection[str], seed: int | None, folder: Path | None, json: Path | None) -> int:
    """Make the atlas, print it and one line of JSON at the end; returns the status.

    The evidence is in `folder` (`reports/atlas-<time>` by default), and its atlas.json is copied to `json`.

    Raises:
        NoSuchStepError: nothing fits the pattern.
        StackError: the stack did not start.
    """
    console, seed = Console(soft_wrap=True, highlight=False), randbelow(1_000_000) if seed is None else seed
    wanted = targets(pattern, kinds)
    if not wanted:
        raise NoSuchStepError(f"no step has a name like {pattern!r}: `grep -rn '@step(' app workers` lists them")
    steps = sorted({one.strike.step for one in wanted})
    folder = folder or Path("reports") / f"atlas-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"[bold]Atlas[/bold]: {len(wanted)} strikes at {len(steps)} steps, seed {seed}")
    again = f"paidonce chaos atlas --seed {seed}" + (f" --steps '{pattern}'" if pattern != "*" else "")
    again += f" --kinds {','.join(kinds)}" if {*kinds} != {*KINDS} else ""
    began = monotonic()
    made, judged = _make(wanted, folder, seed, again, console)
    outcomes = [one for each in made for one in each.outcomes]
    content = orjson.dumps(table.document(steps, outcomes), option=orjson.OPT_INDENT_2)
    (folder / "atlas.json").write_bytes(content)
    if json is not None:
        json.write_bytes(content)
    write(judged, folder)
    page.write(folder, judged)
    show(judged, console, folder)
    table.show(steps, outcomes, console)
    told = table.summary(steps, outcomes) | {
        "verdict": judged.verdict,
        "seed": seed,
        "seconds": round(monotonic() - began, 1),
        "repeat": again,
        "report": str(folder),
    }
    sys.stdout.write(orjson.dumps(told).decode() + "\n")
    good = told["coverage"] >= COVERAGE_LEAST and not told["invalid"] and not told["unknown"]
    return 0 if good and judged.verdict != "invalid" else 1


def _make(wanted: list[Target], folder: Path, seed: int, again: str, console: Console) -> tuple[list[Round], Report]:
    desk = Desk(folder.resolve() / "orders")
    desk.open()
    secrets = {tenant: webhook_secret(seed, tenant) for tenant in TENANTS}
    console.print("starting PostgreSQL, Kafka and the processes")
    with merchants(folder, secrets) as address, grounds.new_stack(desk) as stack:
        till = Till.open(stack, folder / "history.jsonl", seed)
        till.register({tenant: (f"{address}/{tenant}", one) for tenant, one in secrets.items()})
        bind = db.engine(stack.settings)
        ground, judge = Ground(stack, desk, till, bind), Judge(stack, folder)
        plan, made = rounds(wanted, seed), list[Round]()
        till.pay()  # whoever is struck first is struck while there are payments
        for number, together in enumerate(plan, 1):
            made.append(strike(ground, judge, number, together))
            console.print(table.line(made[-1], len(plan)))
        for each in filter(is_in_doubt, made):
            console.print(f"round {each.number} is taken apart: its strikes are made again, alone")
            take_apart(ground, judge, each)
            console.print(table.line(each, len(plan)))
        # Afterwards it works as before, and whatever was struck last was struck while there was work.
        till.pay()
        stuck = judge.settle()
        facts = ask(stack, folder, faults(folder / "faults.jsonl"))
        bind.dispose()
        shutil.copytree(stack.run.folder / "logs", folder / "logs", dirs_exist_ok=True)
    result = Result(
        plan="atlas",
        seed=seed,
        payments=till.wanted,
        load_s=monotonic() - till.began,
        through=till.through,
        drain_within_s=DRAIN_WITHIN_S,
        drained=Drained(0.0, dict.fromkeys(stuck, 1)),
        facts=facts,
        command=again,
    )
    evidence.save(folder, result)
    judged = report(evidence.load(folder))
    _blame(judge, judged, made)
    return made, judged


def _blame(judge: Judge, judged: Report, made: list[Round]) -> None:
    """Find the round of each violation that only the end brought to light; all its strikes are to blame."""
    for said in judge.new(judged.findings):
        subject = subject_of(judged.result.facts, said) or ""
        for each in made:
            if any(subject.startswith(prefix) for prefix in each.subjects):
                for one in each.outcomes:
                    if one.struck is not None:
                        one.result, one.why = "invalid", "; ".join(filter(None, [one.why, said]))
