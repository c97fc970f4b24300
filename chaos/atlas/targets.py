"""Which strikes make an atlas, and which of them share a round? Every step of the source, in a shuffled order."""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from random import Random
from types import ModuleType

import paidonce.app
import paidonce.workers
from paidonce.app import steps
from paidonce.chaos.strikes import Strike

KINDS = ("kill", "stop", "exception")
WHENS = ("before", "after")
#: Strikes of one part of the product (the word before the dot) in one round: of these there are two processes at work.
AT_ONCE = {"relay": 2, "consumer": 2}
#: Parts that take no part in a payment, and have no process in the stack that is struck.
APART = {"console"}


@dataclass(frozen=True, slots=True)
class Target:
    """One strike of the atlas, under its number."""

    number: int
    strike: Strike

    @property
    def part(self) -> str:
        """The part of the product that its step belongs to."""
        return self.strike.step.partition(".")[0]


def all_steps() -> list[str]:
    """Return the name of every step: each module of the product is imported, and each step names itself."""
    for package in (paidonce.app, paidonce.workers):
        _import_all(package)
    return sorted(name for name in steps.names() if name.partition(".")[0] not in APART)


def targets(pattern: str = "*", kinds: Collection[str] = KINDS) -> list[Target]:
    """Return a strike of each kind before and after each step whose name fits one of the patterns, by commas."""
    wanted = [step for step in all_steps() if any(fnmatch(step, one.strip()) for one in pattern.split(","))]
    texts = [f"{step}:{when}:{kind}" for kind in KINDS if kind in kinds for step in wanted for when in WHENS]
    return [Target(number, Strike.parse(text)) for number, text in enumerate(texts, 1)]


def rounds(wanted: Sequence[Target], seed: int) -> list[list[Target]]:
    """Return who is struck together: one kind in a round, at most AT_ONCE of a part, no step twice."""
    made: list[list[Target]] = []
    for kind in KINDS:
        left = [one for one in wanted if one.strike.kind == kind]
        Random(f"{seed} {kind}").shuffle(left)
        made += _dealt(sorted(left, key=lambda one: one.part))
    return made


def _dealt(left: Sequence[Target]) -> list[list[Target]]:
    """Deal them out to as few rounds as will do, each part evenly over all of them."""
    counts = Counter(one.part for one in left)
    least = max((-(-count // AT_ONCE.get(part, 1)) for part, count in counts.items()), default=0)
    made: list[list[Target]] = [[] for _ in range(least)]
    for number, one in enumerate(left):
        turns = (made[(number + turn) % least] for turn in range(least))
        place = next((there for there in turns if _fits(one, there)), None)
        if place is None:
            made.append([one])
        else:
            place.append(one)
    return made


def _fits(one: Target, there: Sequence[Target]) -> bool:
    same = [other for other in there if other.part == one.part]
    return len(same) < AT_ONCE.get(one.part, 1) and one.strike.step not in {other.strike.step for other in same}


def _import_all(package: ModuleType) -> None:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(("librdkafka", "tracing")):  # extras, and without a step of their own
            importlib.import_module(module.name)
