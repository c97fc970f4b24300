"""What was struck at steps, and which steps were reached? Read from the logs of the launcher, one for each process."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paidonce.chaos.fault_log import FaultLog
from paidonce.chaos.history import lines
from paidonce.chaos.plan import Plan
from paidonce.chaos.schedule import Planned
from paidonce.chaos.strikes import Strike

FOLDER = "steps"


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

    def note(self, plan: Plan, log: FaultLog, first: int) -> None:
        """Note in the log of faults what became of the plan's strikes, under numbers from `first` on."""
        wanted = [(process, text) for process, texts in sorted(plan.strikes.items()) for text in texts]
        for number, (process, text) in enumerate(wanted, first):
            log.planned([Planned(number=number, kind="strike", target=process, at_s=0.0, args={"strike": text})])
            self._note(log, number, process, Strike.parse(text))

    def _note(self, log: FaultLog, number: int, process: str, strike: Strike) -> None:
        found = list(lines(self.of(process)))
        struck = [index for index, line in enumerate(found) if line.get("strike") == strike.text]
        if not struck:
            log.missed(number, f"{strike.text} was not reached in {process}")
            return
        hit = found[struck[0]]
        log.fired(number, f"{strike.text}, {len(struck)} times", at=hit["at"])
        over = hit["at"] + strike.seconds
        log.healed(number, at=over)
        # Whoever was not killed goes on by itself.
        back = next(_later(found, struck[0], hit["pid"]), None) if strike.kind == "kill" else over
        if back is not None:
            log.back(number, at=back)


def _later(found: list[dict[str, Any]], index: int, pid: int) -> Iterator[float]:
    """Yield when a successor passed a step."""
    yield from (line["at"] for line in found[index:] if line["pid"] != pid)
