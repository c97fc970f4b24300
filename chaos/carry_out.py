"""How is a schedule carried out? Each target in a thread of its own, one fault at it after the other.

A fault is over when whom it struck works again; so the next one at the same target always finds somebody to strike.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.facts import Fault
from paidonce.chaos.fault_log import FaultLog, faults
from paidonce.chaos.nemeses import KINDS
from paidonce.chaos.plan import Plan, PlanError
from paidonce.chaos.schedule import Planned
from paidonce.devstack.errors import StackError

#: Seconds within which whom a fault struck works again: some seconds on a quiet machine.
BACK_WITHIN_S = 45.0


def check(plan: Plan) -> None:
    """Raise PlanError when the plan asks for a kind of fault that there is not."""
    for wanted in plan.faults:
        if wanted.kind not in KINDS:
            raise PlanError(f"{plan.name}: there is no fault {wanted.kind!r}: it is one of {', '.join(KINDS)}")


def carry_out(arena: Arena, planned: Sequence[Planned], began: float, told: Callable[[Fault], None]) -> list[Fault]:
    """Carry out the schedule; `began` is the load's begin on the monotonic clock, `told` hears of each that fired.

    Returns every planned fault once the stack has got over it, those that did not fire too.
    """
    path = arena.folder / "faults.jsonl"
    log = FaultLog(path)
    log.planned(planned)
    lanes = {one.target: [other for other in planned if other.target == one.target] for one in planned}
    with ThreadPoolExecutor(max(1, len(lanes))) as threads:
        running = [
            threads.submit(_lane, arena, lane, began, log, lambda one: told(_of(path, one))) for lane in lanes.values()
        ]
        for one in running:
            one.result()
    return faults(path)


def _of(path: Path, planned: Planned) -> Fault:
    return next(fault for fault in faults(path) if fault.number == planned.number)


def _lane(arena: Arena, lane: Sequence[Planned], began: float, log: FaultLog, told: Callable[[Planned], None]) -> None:
    for planned in lane:
        sleep(max(0.0, began + planned.at_s - monotonic()))
        try:
            _strike(arena, planned, log, told)
        except DidNotFireError as error:
            log.missed(planned.number, str(error))
            told(planned)
        except Exception as error:  # noqa: BLE001  whatever a nemesis stumbles over, the run is judged by its log
            # One that had fired by then was not seen to be got over: such a run proves nothing, and says so.
            log.missed(planned.number, f"{type(error).__name__}: {error}")
            told(planned)


def _strike(arena: Arena, planned: Planned, log: FaultLog, told: Callable[[Planned], None]) -> None:
    with KINDS[planned.kind](arena, planned) as saw:
        log.fired(planned.number, saw)
        told(planned)
        sleep(planned.for_s)
    log.healed(planned.number)
    if _is_back(arena, planned.target):
        log.back(planned.number)


def _is_back(arena: Arena, target: str) -> bool:
    """Wait for the target, or for everybody when it is none of our processes."""
    names = [target] if target in arena.stack.names() else []
    try:
        arena.stack.wait_ready(*names, within_s=BACK_WITHIN_S)
    except StackError:
        return False
    return True
