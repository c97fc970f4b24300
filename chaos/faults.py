"""What is done to the processes while the load runs? SIGKILL, at moments drawn from the seed.

A fault is planned first and recorded when it really fired: the process was seen alive under its
id, and then seen dead. What did not fire is in the record too, and makes the run `unknown`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from time import monotonic, sleep, time
from typing import Protocol

import psutil

from paidonce.chaos.facts import Fault

#: Every kind of process of ours on a payment's way; two of them twice, to hit a successor too.
TARGETS = (
    "api-1",
    "relay",
    "relay",
    "consumer-charges",
    "consumer-ledger",
    "consumer-notifications",
    "effects",
    "effects",
)
#: The share of the load's time in which the kills fall: not before the first payments, not after the last.
SPAN = (0.08, 0.92)
#: Seconds between two looks at the processes.
TICK_S = 0.02
#: Seconds after a SIGKILL within which the process must be gone: milliseconds, but for a machine that swaps.
DEAD_WITHIN_S = 1.0
#: Seconds that a supervisor may take to start a successor.
BACK_WITHIN_S = 15.0


class Processes(Protocol):
    """Whoever runs our processes and starts them again: devstack's stack."""

    def pids(self) -> Mapping[str, int]:
        """Process ids by name, as they are now."""

    def kill(self, name: str) -> object:
        """Send SIGKILL to that process."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A kill that is planned."""

    target: str
    #: seconds after the load's begin
    at_s: float


def strikes(seed: int, load_s: float, targets: Sequence[str] = TARGETS) -> list[Strike]:
    """Return the kills of a run in time order: one in each equal part of the span, at a random moment of it."""
    draw, order = Random(f"{seed} strikes"), list(targets)
    draw.shuffle(order)
    first, last = SPAN[0] * load_s, SPAN[1] * load_s
    part = (last - first) / len(order)
    return [Strike(target, first + part * (index + draw.random())) for index, target in enumerate(order)]


def strike(processes: Processes, plan: Sequence[Strike], began: float, told: Callable[[Fault], None]) -> list[Fault]:
    """Carry out the plan; `began` is the load's begin on the monotonic clock, `told` hears of each kill.

    Returns every planned fault in order, those that did not fire too; waits for the successors.
    """
    done: list[Fault] = []
    for planned in plan:
        while monotonic() < began + planned.at_s:
            done = _look_back(processes, done)
            sleep(TICK_S)
        done.append(_kill(processes, planned.target))
        told(done[-1])
    end = monotonic() + BACK_WITHIN_S
    while monotonic() < end and any(fault.fired_at and fault.back_after_s is None for fault in done):
        done = _look_back(processes, done)
        sleep(TICK_S)
    return done


def _kill(processes: Processes, target: str) -> Fault:
    pid = processes.pids().get(target)
    if pid is None or not _runs(pid):
        return Fault(target=target, fired_at=None, pid=pid)
    processes.kill(target)
    end = monotonic() + DEAD_WITHIN_S
    while _runs(pid) and monotonic() < end:
        sleep(0.001)
    return Fault(target=target, fired_at=None if _runs(pid) else time(), pid=pid)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _look_back(processes: Processes, done: Sequence[Fault]) -> list[Fault]:
    """Note the successors that run by now."""
    pids = processes.pids()
    return [
        replace(fault, back_after_s=time() - fault.fired_at)
        if fault.fired_at and fault.back_after_s is None and pids.get(fault.target, fault.pid) != fault.pid
        else fault
        for fault in done
    ]
