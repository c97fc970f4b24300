"""What came of the faults that the launcher makes, and which steps were reached? Read from its logs, one a process."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from paidonce.chaos.fault_log import FaultLog
from paidonce.chaos.history import lines
from paidonce.chaos.plan import Plan
from paidonce.chaos.schedule import Planned
from paidonce.chaos.strikes import Strike

FOLDER = "steps"
#: Seconds by which a clock may be off what was asked for: the log has tenths.
SKEW_WITHIN_S = 1.0


def launched(plan: Plan, only: Collection[int] | None = None) -> list[Planned]:
    """Return the plan's strikes and skewed clocks, numbered on from its schedule; `only` those of these numbers."""
    first = sum(faults.times * len(faults.targets) for faults in plan.faults) + 1
    wanted: list[tuple[str, str, dict[str, Any]]] = [
        ("strike", process, {"strike": text}) for process, texts in sorted(plan.strikes.items()) for text in texts
    ]
    wanted += [("skew", process, {"seconds": seconds}) for process, seconds in sorted(plan.skew_s.items())]
    planned = [
        Planned(number=number, kind=kind, target=process, at_s=0.0, args=args)
        for number, (kind, process, args) in enumerate(wanted, first)
    ]
    return [one for one in planned if only is None or one.number in only]


@dataclass(frozen=True, slots=True)
class StepLogs:
    """The step logs of a run whose evidence is in `folder`."""

    folder: Path

    def of(self, process: str) -> Path:
        """Return where a process writes its own: an absolute path, since processes work in folders of their own."""
        (self.folder / FOLDER).mkdir(exist_ok=True)
        return self.folder.resolve() / FOLDER / f"{process}.jsonl"

    @property
    def begun(self) -> Path:
        """The file whose being there says that the load has begun: from then on the plan's strikes count passes."""
        return self.folder.resolve() / FOLDER / "begun"

    def reached(self) -> set[tuple[str, str]]:
        """Return every (step, before or after) that some process passed."""
        found = (lines(path) for path in sorted((self.folder / FOLDER).glob("*.jsonl")))
        return {(line["step"], line["when"]) for log in found for line in log if line["type"] == "reached"}

    def note(self, made: Sequence[Planned], log: FaultLog) -> None:
        """Note in the log of faults what became of those that the launcher made."""
        log.planned(made)
        for one in made:
            found = list(lines(self.of(one.target)))
            if one.kind == "skew":
                _note_skew(log, one, found)
            else:
                _note_strike(log, one, Strike.parse(one.args["strike"]), found)


def _note_skew(log: FaultLog, planned: Planned, found: Sequence[dict[str, Any]]) -> None:
    """It lasts as long as the run; whoever has it works all the time."""
    wanted = planned.args["seconds"]
    skewed = [line for line in found if line["type"] == "skewed" and abs(line["ahead_s"] - wanted) < SKEW_WITHIN_S]
    passed = {line["step"] for line in found if line["type"] == "reached"}
    if not skewed or not passed:
        log.missed(planned.number, f"the clock of {planned.target} was not {wanted:+g} s off, or nobody worked by it")
        return
    pids = {line["pid"] for line in skewed}
    saw = f"clock {skewed[0]['ahead_s']:+g} s in {len(pids)} processes, which passed {len(passed)} steps by it"
    log.fired(planned.number, saw, at=skewed[0]["at"])
    over = time()
    log.healed(planned.number, at=over)
    log.back(planned.number, at=over)


def _note_strike(log: FaultLog, planned: Planned, strike: Strike, found: Sequence[dict[str, Any]]) -> None:
    struck = [index for index, line in enumerate(found) if line.get("strike") == strike.text]
    if not struck:
        log.missed(planned.number, f"{strike.text} was not reached in {planned.target}")
        return
    hit = found[struck[0]]
    log.fired(planned.number, f"{strike.text}, {len(struck)} times", at=hit["at"])
    over = hit["at"] + strike.seconds
    log.healed(planned.number, at=over)
    # Whoever was not killed goes on by itself.
    back = next(_later(found, struck[0], hit["pid"]), None) if strike.kind == "kill" else over
    if back is not None:
        log.back(planned.number, at=back)


def _later(found: Sequence[dict[str, Any]], index: int, pid: int) -> Iterator[float]:
    """Yield when a successor passed a step."""
    yield from (line["at"] for line in found[index:] if line["pid"] != pid)
