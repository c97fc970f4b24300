"""How does a round go? Orders are given, customers pay, errands bring the rest about; then everybody must be back.

What a strike's result means is written in docs/chaos.md, "The atlas".
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic, sleep, time

from paidonce.chaos.atlas.errand import Errand, ErrandError
from paidonce.chaos.atlas.errands import errand_for
from paidonce.chaos.atlas.ground import Ground
from paidonce.chaos.atlas.judge import Judge
from paidonce.chaos.atlas.noting import note
from paidonce.chaos.atlas.targets import Target
from paidonce.chaos.carry_out import BACK_WITHIN_S
from paidonce.chaos.orders import Struck
from paidonce.devstack.errors import StackError

#: Seconds from the orders within which every place must have been passed; errands may bring it about several times.
REACHED_WITHIN_S = 30.0
#: Payments of each load after a round's first, while somebody has not come by yet.
MORE_PAYMENTS = 3


@dataclass(slots=True)
class Outcome:
    """What became of one strike: `valid`, `invalid`, `unknown` or `unreached`, and why."""

    target: Target
    round: int
    result: str
    why: str = ""
    struck: Struck | None = None


@dataclass(slots=True)
class Round:
    """What became of a round; `subjects` are what its payments' names begin with."""

    number: int
    outcomes: list[Outcome]
    subjects: list[str] = field(default_factory=list)
    seconds: float = 0.0


def strike(ground: Ground, judge: Judge, number: int, wanted: Sequence[Target]) -> Round:
    """Make one round, and judge it."""
    began, made = monotonic(), Round(number, [])
    for one in wanted:
        ground.desk.give(one.number, one.strike)
    failed = _bring_about(ground, wanted, made)
    struck = ground.desk.struck({one.number for one in wanted})
    _until_over(wanted, struck)
    not_back = _not_back(ground)
    note(judge.folder / "faults.jsonl", wanted, struck, failed, back=not not_back)
    wrong = [] if not_back else [*judge.settle(), *judge.look()]
    for one in wanted:
        said = failed.get(one.number, "")
        result, why = result_of(struck.get(one.number), said, not_back, wrong)
        made.outcomes.append(Outcome(one, number, result, why, struck.get(one.number)))
    made.seconds = monotonic() - began
    return made


def _bring_about(ground: Ground, wanted: Sequence[Target], made: Round) -> dict[int, str]:
    """Pay and run errands until all were struck, or too late; returns what errands failed, by strike."""
    end = monotonic() + REACHED_WITHIN_S
    numbers = {one.number for one in wanted}
    with ThreadPoolExecutor(max(1, len(wanted))) as threads:
        running = dict(_errands(ground, wanted, threads, end))
        made.subjects.append(ground.till.pay())
        while len(ground.desk.struck(numbers)) < len(numbers) and monotonic() < end:
            made.subjects.append(ground.till.pay(MORE_PAYMENTS))
    for one in wanted:
        ground.desk.take_back(one.strike)
    return {number: said for number, future in running.items() if (said := future.result())}


def _errands(
    ground: Ground, wanted: Sequence[Target], threads: ThreadPoolExecutor, end: float
) -> Iterator[tuple[int, Future[str]]]:
    for one in wanted:
        errand = errand_for(one.strike.step)
        if errand is not None:
            yield one.number, threads.submit(_run_errand, ground, one, errand, end)


def _run_errand(ground: Ground, one: Target, errand: Errand, end: float) -> str:
    """Run it until its strike was made; returns what was wrong in the end, empty when nothing was."""
    while True:
        try:
            errand(ground)
            said = ""
        except Exception as error:  # noqa: BLE001  whatever it stumbles over: it is struck on the way, and comes again
            said = str(error) if isinstance(error, ErrandError) else f"{type(error).__name__}: {error}"
        was_struck = bool(ground.desk.struck({one.number}))
        if (was_struck and not said) or monotonic() > end:
            return said
        sleep(0.2)


def _until_over(wanted: Sequence[Target], struck: dict[int, Struck]) -> None:
    ends = [struck[one.number].at + one.strike.seconds for one in wanted if one.number in struck]
    sleep(max(0.0, max(ends, default=0.0) - time()))


def _not_back(ground: Ground) -> str:
    try:
        ground.stack.wait_ready(within_s=BACK_WITHIN_S)
    except StackError as error:
        return str(error).partition("\n")[0]
    return ""


def result_of(struck: Struck | None, failed: str, not_back: str, wrong: Sequence[str]) -> tuple[str, str]:
    """Return what a strike's result is, and why."""
    if struck is None:
        return "unreached", failed or "nobody passed there"
    if not_back:
        return "unknown", not_back
    said = [failed, *wrong] if failed else wrong
    return "invalid" if said else "valid", "; ".join(said)
