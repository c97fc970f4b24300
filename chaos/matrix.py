"""Does the rig find a safeguard that is missing? Each is taken out under the plan that must find it.

Found means that the named checker reported the named bug; whatever else broke does not count. The same
plans with everything in place must be valid, or what they find would say nothing.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from paidonce.chaos import plan as plans
from paidonce.chaos.checkers.verdict import Finding, Violation
from paidonce.chaos.conduct import conduct
from paidonce.chaos.plan import Finds, Plan, PlanError
from paidonce.chaos.report import Report, report, write
from paidonce.chaos.run import Watcher, WorkloadError
from paidonce.chaos.sabotage import SAFEGUARDS
from paidonce.devstack.errors import StackError


@dataclass(frozen=True, slots=True)
class Trial:
    """One run that is to be made: a plan with one safeguard taken out, or as a control with none."""

    plan: Plan
    finds: Finds | None
    seed: int
    #: counts from 1
    round: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.round}-{self.finds.safeguard if self.finds else self.plan.name}"


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a trial."""

    trial: Trial
    #: the named bug was found; of a control: it was valid
    passed: bool
    verdict: str
    #: the first evidence, or why there is none
    said: str
    evidence: tuple[str, ...] = ()
    #: checkers that reported something else
    besides: tuple[str, ...] = ()
    seconds: float = 0.0


def trials(safeguards: Collection[str], *, seed: int, rounds: int) -> list[Trial]:
    """Return the runs of a matrix: round by round and plan by plan, the control of a plan first.

    Raises:
        PlanError: no plan finds one of the safeguards, or several do.
    """
    found = finders()
    wanted = [name for name in SAFEGUARDS if name in safeguards]
    used = {found[name][0].name: found[name][0] for name in wanted}
    return [
        Trial(plan, finds, seed + number, number + 1)
        for number in range(rounds)
        for plan in used.values()
        for finds in (None, *(one for one in plan.finds if one.safeguard in wanted))
    ]


def finders() -> dict[str, tuple[Plan, Finds]]:
    """Return for each safeguard the plan of the house that finds it missing; raises PlanError as `trials` does."""
    found: dict[str, tuple[Plan, Finds]] = {}
    for plan in map(plans.load, plans.names()):
        for finds in plan.finds:
            if finds.safeguard in found:
                raise PlanError(f"{finds.safeguard} has two plans: {found[finds.safeguard][0].name}, {plan.name}")
            found[finds.safeguard] = plan, finds
    missing = [name for name in SAFEGUARDS if name not in found]
    if missing:
        raise PlanError(f"no plan finds {', '.join(missing)}")
    return found


def matrix(wanted: Sequence[Trial], folder: Path, watcher: Watcher, told: Callable[[Row], None]) -> list[Row]:
    """Make the runs, each on a fresh stack, with its evidence in a folder of its own; `told` hears of each row."""
    rows = []
    for trial in wanted:
        began = monotonic()
        row = _made(trial, folder / trial.name, watcher)
        rows.append(replace(row, seconds=monotonic() - began))
        told(rows[-1])
    return rows


def _made(trial: Trial, folder: Path, watcher: Watcher) -> Row:
    folder.mkdir(parents=True)
    taken_out = [trial.finds.safeguard] if trial.finds else []
    try:
        made = report(conduct(trial.plan, folder, watcher, seed=trial.seed, taken_out=taken_out))
    except (StackError, WorkloadError, TimeoutError) as error:
        return Row(trial, passed=False, verdict="none", said=f"the run did not come to its end: {error}")
    write(made, folder)
    return judged(trial, made)


def judged(trial: Trial, made: Report) -> Row:
    """Return what a run says of its trial."""
    broken = [finding for finding in made.findings if finding.violations]
    if trial.finds is None:
        said = "; ".join(made.reasons[:3])
        names = tuple(finding.checker.name for finding in broken)
        return Row(trial, passed=made.verdict == "valid", verdict=made.verdict, said=said, besides=names)
    bug = smallest_evidence(broken, trial.finds)
    besides = tuple(finding.checker.name for finding in broken if finding.checker.name != trial.finds.checker)
    if bug is None:
        said = f"{trial.finds.checker} does not say {trial.finds.bug!r}"
        return Row(trial, passed=False, verdict=made.verdict, said=said, besides=besides)
    return Row(trial, passed=True, verdict=made.verdict, said=bug.what, evidence=bug.evidence, besides=besides)


def smallest_evidence(findings: Sequence[Finding], finds: Finds) -> Violation | None:
    """Return the violation that the named checker reported of the named bug, in the fewest lines; None: none."""
    found = [
        violation
        for finding in findings
        if finding.checker.name == finds.checker
        for violation in finding.violations
        if re.search(finds.bug, "\n".join([violation.what, *violation.evidence]))
    ]
    return min(found, key=lambda violation: len(violation.evidence), default=None)
