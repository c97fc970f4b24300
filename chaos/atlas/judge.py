"""Is everything as it should be after a round? Waited for within a bound, then checked; what was known is not new.

After each round every checker is asked that needs neither the topic nor the merchants' mailbox: those are judged
with everything else at the end, and a violation there finds its round by the payment that it speaks of.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from paidonce.chaos import tables, witnesses
from paidonce.chaos.checkers import CHECKERS
from paidonce.chaos.checkers.verdict import Checker, Finding, judge
from paidonce.chaos.drain import DRAIN_WITHIN_S, LOOK_S
from paidonce.chaos.facts import Facts
from paidonce.chaos.fault_log import faults
from paidonce.chaos.history import operations
from paidonce.chaos.page.names import names, payment_of
from paidonce.devstack.stack import Stack

#: Checkers that need what is only asked for at the end.
AT_THE_END = frozenset({"published-once", "in-order", "delivered"})
#: Checkers that speak of sums over everything.
OF_SUMS = frozenset({"ledger-balances"})
FIGURES = re.compile(r"-?\d+")
QUICK: Sequence[Checker] = tuple(checker for checker in CHECKERS if checker.name not in AT_THE_END)


@dataclass(slots=True)
class Judge:
    """Looks after each round; remembers what it has complained of."""

    stack: Stack
    #: of the evidence: history and log of faults are read as they are now
    folder: Path
    #: (checker, what) of each violation that was told
    told: set[tuple[str, str]] = field(default_factory=set)
    #: what never became final, and how much of it
    stuck: Mapping[str, int] = field(default_factory=dict)

    def settle(self, within_s: float = DRAIN_WITHIN_S) -> list[str]:
        """Wait until all is final, but for what was stuck before; returns what is not in that time."""
        end = monotonic() + within_s
        with tables.connect(self.stack.addresses.dsn) as connection:
            while True:
                left = tables.unfinished(connection)
                more = {what: count for what, count in left.items() if count > self.stuck.get(what, 0)}
                if not more or monotonic() > end:
                    break
                sleep(LOOK_S)
        self.stuck = {**self.stuck, **more}
        return [f"not final {within_s:.0f} s later: {count} {what}" for what, count in more.items()]

    def look(self) -> list[str]:
        """Return the violations that are new since the last look."""
        with tables.connect(self.stack.addresses.dsn) as connection:
            said: dict[str, Any] = tables.tables(connection)
        said |= witnesses.journal(Path(self.stack.addresses.journal))
        asked, struck = operations(self.folder / "history.jsonl"), faults(self.folder / "faults.jsonl")
        return self.new(judge(Facts(**said, operations=asked, faults=struck), QUICK))

    def new(self, findings: Iterable[Finding]) -> list[str]:
        """Return what of these findings was not told before; from now on it was."""
        fresh = []
        for checker, what in sorted({(one.checker.name, found.what) for one in findings for found in one.violations}):
            # Sums over the whole stack go on; the payment that is to blame is told of by `books-agree`.
            known = (checker, FIGURES.sub("#", what) if checker in OF_SUMS else what)
            if known not in self.told:
                self.told.add(known)
                fresh.append(f"{checker}: {what}")
        return fresh


def subject_of(facts: Facts, said: str) -> str | None:
    """Return the client's name for the payment that a violation speaks of; None when it names none."""
    payment = payment_of([said], names(facts))
    return next((row.subject for row in facts.payments if row.id == payment), None)
