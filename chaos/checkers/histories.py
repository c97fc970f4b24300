"""What do the histories say that are never rewritten: of windows, of effects, of a payment's ends?

What looks right in the end may have been wrong in between: such a bug is seen here even in a run where luck undid it.
"""

from itertools import pairwise

from paidonce.chaos.checkers.money import grouped
from paidonce.chaos.checkers.verdict import Examined, Violation
from paidonce.chaos.facts import EffectLine, Facts, WindowRow

#: `hi` of a window that ends its span: the largest bigint
END_OF_SPAN = 2**63 - 1
ENDS = frozenset({"payment.captured", "payment.declined", "payment.canceled"})


def windows_follow(facts: Facts) -> Examined:
    """Each window of a shard begins where the one before it ended, under the same epoch or a later one."""
    violations = []
    for shard, rows in grouped(facts.windows, lambda row: row.shard).items():
        for before, after in pairwise(sorted(rows, key=lambda row: row.number)):
            if not _follows(before, after):
                what = f"window {after.number} of shard {shard} does not begin where window {before.number} ends"
                violations.append(Violation(what, (_told(before), _told(after))))
            if after.epoch < before.epoch:
                what = f"window {after.number} of shard {shard} was recorded by an owner of long ago"
                violations.append(Violation(what, (_told(before), _told(after))))
    return len(facts.windows), violations


def _follows(before: WindowRow, after: WindowRow) -> bool:
    if after.number != before.number + 1:
        return False
    if before.hi == END_OF_SPAN:
        return after.s1 == before.s2
    return (after.s1, after.s2, after.lo) == (before.s1, before.s2, before.hi)


def _told(row: WindowRow) -> str:
    positions = f"positions {row.lo} to {'the end' if row.hi == END_OF_SPAN else row.hi}"
    return f"window {row.number}, epoch {row.epoch}: from {row.s1} to {row.s2}, {positions}"


def results_fenced(facts: Facts) -> Examined:
    """Only the worker that held a call wrote its result: each answer has the token of the last claim."""
    violations, examined = [], 0
    for (kind, subject), lines in grouped(facts.effect_history, lambda line: (line.kind, line.subject)).items():
        holder = None
        for number, line in enumerate(lines):
            if line.event == "claimed":
                holder = line.token
            elif line.event == "answered":
                examined += 1
                if line.token != holder:
                    what = f"a worker that held the {kind} of {subject} no longer wrote its result: {line.state}"
                    violations.append(Violation(what, tuple(map(_line, lines[: number + 1]))))
                holder = None
    return examined, violations


def _line(line: EffectLine) -> str:
    return f"{line.event}, {line.state}" + (f", token {line.token[:8]}" if line.token else "")


def ended_once(facts: Facts) -> Examined:
    """A payment was captured, declined or canceled once: reply, webhook and look-up of a charge count together."""
    ends = {event.id: event for event in facts.events if event.type in ENDS}
    groups = grouped(ends.values(), lambda event: event.key)
    return len(groups), [
        Violation(
            f"payment {key} ended {len(group)} times",
            tuple(f"{event.type} sequence {event.sequence}, message-id {event.id}" for event in group),
        )
        for key, group in groups.items()
        if len(group) > 1
    ]
