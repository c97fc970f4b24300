"""What happened in each stretch of a run? Payments, answers and waits, counted in stretches of equal length."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from paidonce.chaos.facts import Facts
from paidonce.chaos.history import Operation

#: Stretches that a plot shows at most; a run of two minutes is shown by the second.
STRETCHES_MOST = 120


@dataclass(frozen=True, slots=True)
class Series:
    """Figures by stretch: the first begins at `origin`, each is `stretch_s` long."""

    #: seconds since 1970 of the first payment
    origin: float
    lasts_s: float
    stretch_s: int
    #: payments that a client was told were accepted, and that the provider captured, a second
    accepted: Sequence[float]
    captured: Sequence[float]
    #: seconds until an answer, for half of the requests that ended in the stretch, and for all but one in a hundred;
    #: None where none ended
    half: Sequence[float | None]
    most: Sequence[float | None]
    #: requests that were given up without an answer, a second
    unanswered: Sequence[float]


def series(facts: Facts) -> Series | None:
    """Return the figures of a run; None when no payment was ever sent."""
    operations = [op for op in facts.operations if op.kind != "register"]
    origin = min((op.began for op in operations if op.kind == "create"), default=None)
    if origin is None:
        return None
    lasts_s = max(1.0, *(moment - origin for moment in _ends(facts, operations)))
    stretch_s = ceil(lasts_s / STRETCHES_MOST)
    into = _Stretches(origin, stretch_s, ceil(lasts_s / stretch_s))
    waits = into.grouped((op.ended, op.ended - op.began) for op in operations if op.ended and op.status)
    return Series(
        origin=origin,
        lasts_s=lasts_s,
        stretch_s=stretch_s,
        accepted=into.a_second(_accepted(operations)),
        captured=into.a_second(charge.at for charge in facts.charges if charge.at and charge.status == "captured"),
        half=[_at_share(one, 0.5) for one in waits],
        most=[_at_share(one, 0.99) for one in waits],
        unanswered=into.a_second(op.ended or op.began for op in operations if not op.status),
    )


def _ends(facts: Facts, operations: Sequence[Operation]) -> Iterable[float]:
    yield from (op.ended or op.began for op in operations)
    yield from (charge.at for charge in facts.charges if charge.at)
    yield from (fault.healed_at + (fault.back_after_s or 0.0) for fault in facts.faults if fault.healed_at)


def _accepted(operations: Sequence[Operation]) -> list[float]:
    """Return when a client was first told yes, for each thing that it wanted to pay."""
    first: dict[tuple[str, str], float] = {}
    for op in operations:
        if op.kind in {"create", "replay"} and op.outcome == "ok" and op.ended:
            subject = (op.tenant, op.subject)
            first[subject] = min(op.ended, first.get(subject, op.ended))
    return list(first.values())


@dataclass(frozen=True, slots=True)
class _Stretches:
    origin: float
    stretch_s: int
    count: int

    def grouped(self, measured: Iterable[tuple[float, float]]) -> list[list[float]]:
        groups: list[list[float]] = [[] for _ in range(self.count)]
        for moment, value in measured:
            groups[min(self.count - 1, max(0, int((moment - self.origin) / self.stretch_s)))].append(value)
        return groups

    def a_second(self, moments: Iterable[float]) -> list[float]:
        return [len(one) / self.stretch_s for one in self.grouped((moment, 1.0) for moment in moments)]


def _at_share(values: Sequence[float], share: float) -> float | None:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None
