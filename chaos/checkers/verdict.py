"""What does a checker say, and what follows from all of them together?

A run whose faults did not fire, or in which a checker had nothing to look at, proves nothing:
it is `unknown`, never `valid` (docs/design.md, "The fault rig").
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from paidonce.chaos.facts import Facts

Verdict = Literal["valid", "invalid", "unknown"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise, with the lines that show it."""

    what: str
    evidence: tuple[str, ...] = ()


#: how many things were looked at, and what was wrong with them
Examined = tuple[int, list[Violation]]


@dataclass(frozen=True, slots=True)
class Checker:
    """One promise and the function that looks for its breach."""

    name: str
    #: the promise in words for somebody who has never seen the project
    promise: str
    examine: Callable[[Facts], Examined]
    #: what `examined` counts, in the plural
    counts: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What one checker found."""

    checker: Checker
    examined: int
    violations: tuple[Violation, ...]


def judge(facts: Facts, checkers: Sequence[Checker]) -> list[Finding]:
    """Ask every checker."""
    findings = []
    for checker in checkers:
        examined, violations = checker.examine(facts)
        findings.append(Finding(checker, examined, tuple(violations)))
    return findings


def verdict(findings: Sequence[Finding], facts: Facts) -> tuple[Verdict, list[str]]:
    """Return the verdict and, unless it is `valid`, the reasons."""
    broken = [violation.what for finding in findings for violation in finding.violations]
    if broken:
        return "invalid", broken
    doubts = _doubts(facts)
    doubts += [f"{finding.checker.name}: nothing to look at" for finding in findings if not finding.examined]
    return ("unknown", doubts) if doubts else ("valid", [])


def _doubts(facts: Facts) -> list[str]:
    """A fault counts when it fired while payments were sent, and was got over; an expectation, when it was met."""
    sent = [op.began for op in facts.operations if op.kind == "create"]
    first, last = min(sent, default=0.0), max(sent, default=0.0)
    doubts = [f"no {kind} stayed unknown" for kind in sorted(facts.expected_unknown) if not facts.left_unknown(kind)]
    unseen = sorted(facts.expected_answers - facts.provider_answers.keys())
    doubts += [f"the provider never behaved so: {answer}" for answer in unseen]
    for fault in facts.faults:
        named = f"fault {fault.number}, {fault.kind} {fault.target},"
        if fault.fired_at is None:
            doubts.append(f"{named} did not fire: {fault.saw}")
        elif not (fault.fired_at < last and first < (fault.healed_at or fault.fired_at)):
            doubts.append(f"{named} fired while no payments were sent")
        elif fault.back_after_s is None:
            doubts.append(f"after {named} it was not seen to work again")
    return doubts


def smallest(findings: Sequence[Finding]) -> list[tuple[Checker, Violation]]:
    """Return for each broken promise the violation that the fewest lines show."""
    return [
        (finding.checker, min(finding.violations, key=lambda violation: len(violation.evidence)))
        for finding in findings
        if finding.violations
    ]
