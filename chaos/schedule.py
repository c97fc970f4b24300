"""Which fault strikes whom, when, and for how long? Drawn from the seed out of the plan, before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from paidonce.chaos.plan import SPAN, Faults, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One fault that is planned."""

    #: counts from 1 in the order of the plan, whatever the seed; names it in reports and for `--only`
    number: int
    kind: str
    target: str
    #: seconds after the load's begin
    at_s: float
    for_s: float = 0.0
    args: Mapping[str, Any] = field(default_factory=dict)


def schedule(plan: Plan, seed: int, load_s: float) -> list[Planned]:
    """Return the faults of a run in time order: those of the plan, in each round of the load.

    Those without a time of their own are spread: one in each equal part of the span, at a random moment of it.
    """
    draw, rounds = Random(f"{seed} faults"), plan.load.rounds
    wanted = [
        (faults, target)
        for faults in plan.faults
        for _ in range(faults.times)
        for target in faults.targets
        if target not in plan.spares
    ]
    planned = [
        replace(one, number=one.number + number * len(wanted), at_s=one.at_s + number * load_s / rounds)
        for number in range(rounds)
        for one in _round(wanted, draw, load_s / rounds)
    ]
    return sorted(planned, key=lambda one: one.at_s)


def _round(wanted: Sequence[tuple[Faults, str]], draw: Random, load_s: float) -> list[Planned]:
    spread = [number for number, (faults, _) in enumerate(wanted) if faults.at == SPAN]
    draw.shuffle(spread)
    part = (SPAN[1] - SPAN[0]) / max(1, len(spread))
    moments = {number: SPAN[0] + part * (place + draw.random()) for place, number in enumerate(spread)}
    return [
        _planned(number, faults, target, draw, moment=moments.get(number), load_s=load_s)
        for number, (faults, target) in enumerate(wanted)
    ]


def _planned(number: int, faults: Faults, target: str, draw: Random, *, moment: float | None, load_s: float) -> Planned:
    own, for_s = draw.uniform(*faults.at), draw.uniform(*faults.for_s)
    return Planned(
        number=number + 1,
        kind=faults.kind,
        target=target,
        at_s=load_s * (own if moment is None else moment),
        for_s=round(for_s, 3),
        args=faults.args,
    )
