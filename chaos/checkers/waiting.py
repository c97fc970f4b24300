"""How long did anything stay open while nothing was wrong, and did what lived through the run grow?

What takes long under a fault is no breach; what goes on after the fault is over has been lost sight of.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median

from paidonce.chaos.checkers.money import grouped
from paidonce.chaos.checkers.verdict import Examined, Violation
from paidonce.chaos.facts import Facts, Fault, Size

#: A clock that is wrong all the time is no outage.
LASTING = frozenset({"skew"})
#: How much more a process may hold in the last third of a run than in the second. Pages that are kept for the next
#: allocation make steps of some megabytes; a leak of one kilobyte a payment is 3 MB in 3,300 payments.
GROWTH_MOST = 0.05
GROWTH_MOST_BYTES = 3_000_000
#: A pool opens and closes connections as the load comes.
GROWTH_MOST_FILES = 4
#: Looks at a process without which nothing can be said of its growth.
LOOKS_LEAST = 30

Span = tuple[float, float]


def prompt(facts: Facts) -> Examined:
    """Whatever began was done within the time of a drain, not counting the time in which a fault was there."""
    struck = outages(facts.faults)
    violations = []
    for wait in facts.waits:
        calm_s = calm((wait.began, wait.ended), struck)
        if calm_s > facts.drain_within_s:
            what = f"the {wait.what} {wait.subject} took {calm_s:.0f} s without a fault"
            told = (f"from {wait.began:.1f} to {wait.ended:.1f}, {wait.ended - wait.began:.0f} s in all",)
            violations.append(Violation(what, told))
    return len(facts.waits), violations


def outages(faults: Iterable[Fault]) -> list[Span]:
    """Return the spans in which some fault was there or not yet got over, joined, in order of time."""
    spans = sorted(
        (fault.fired_at, (fault.healed_at or fault.fired_at) + (fault.back_after_s or 0.0))
        for fault in faults
        if fault.fired_at is not None and fault.kind not in LASTING
    )
    joined: list[Span] = []
    for began, ended in spans:
        if joined and began <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], ended))
        else:
            joined.append((began, ended))
    return joined


def calm(span: Span, struck: Sequence[Span]) -> float:
    """Return how many seconds of `span` lie outside `struck`, whose spans do not overlap."""
    began, ended = span
    return ended - began - sum(max(0.0, min(ended, to) - max(began, since)) for since, to in struck)


def flat(facts: Facts) -> Examined:
    """What no fault stopped lived all the time, and held no more in the last third of it than in the second."""
    violations, examined = [], 0
    for name, sizes in grouped(facts.sizes, lambda size: size.name).items():
        ends = [before.at for before, after in pairwise(sizes) if before.pid != after.pid]
        if not ends and len(sizes) < LOOKS_LEAST:
            continue
        examined += 1
        if ends:
            told = tuple(f"at {at:.1f} it was seen last" for at in ends)
            violations.append(Violation(f"{name} ended, and no fault had stopped it", told))
            continue
        for held, (middle, last) in thirds(sizes).items():
            most = GROWTH_MOST_FILES if held == "files" else max(GROWTH_MOST_BYTES, GROWTH_MOST * middle)
            if last > middle + most:
                told = (f"{middle:,.0f} in the second third of the run, {last:,.0f} in the last",)
                violations.append(Violation(f"{name} holds more and more {held}", told))
    return examined, violations


def thirds(sizes: Sequence[Size]) -> Mapping[str, Span]:
    """Return what was held in the second and in the last third of the looks: bytes and open files, their medians."""
    third = len(sizes) // 3
    middle, last = sizes[third : 2 * third], sizes[2 * third :]
    return {
        "memory": (median(size.memory for size in middle), median(size.memory for size in last)),
        "files": (median(size.files for size in middle), median(size.files for size in last)),
    }
