"""What is done to processes? They are killed, stand still, die in storms, or stay away for a while."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import psutil

from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.schedule import Planned
from paidonce.devstack.errors import TooLateError
from paidonce.devstack.waiting import until

#: Seconds after a signal within which it must have worked: milliseconds, but for a machine that swaps.
WORKED_WITHIN_S = 2.0
#: Seconds that a storm waits for the next successor: Python and its imports take one on a quiet machine.
SUCCESSOR_WITHIN_S = 15.0
#: Kills of a storm, unless its arguments say otherwise.
STORM_KILLS = 4


@contextmanager
def kill(arena: Arena, planned: Planned) -> Iterator[str]:
    """SIGKILL; the supervisor starts a successor."""
    yield _killed(arena, planned.target)


@contextmanager
def freeze(arena: Arena, planned: Planned) -> Iterator[str]:
    """SIGSTOP for `for_s` seconds, then SIGCONT: alive, and silent beyond its lease."""
    pid, process = _pid(arena, planned.target), arena.stack.process(planned.target)
    process.send(signal.SIGSTOP)
    try:
        _worked(lambda: _status(pid) == psutil.STATUS_STOPPED, f"pid {pid} to stand still")
        yield f"pid {pid} stands still"
    finally:
        process.send(signal.SIGCONT)


@contextmanager
def storm(arena: Arena, planned: Planned) -> Iterator[str]:
    """Kill it and its successors, `kills` times, each as soon as it is there."""
    saw = []
    for _ in range(int(planned.args.get("kills", STORM_KILLS))):
        saw.append(_killed(arena, planned.target))
        dead = arena.stack.process(planned.target).pid
        end = monotonic() + SUCCESSOR_WITHIN_S
        while arena.stack.process(planned.target).pid == dead and monotonic() < end:
            sleep(0.01)
    yield "; ".join(saw)


@contextmanager
def away(arena: Arena, planned: Planned) -> Iterator[str]:
    """It is stopped in order, and nobody starts it again for `for_s` seconds."""
    pid = _pid(arena, planned.target)
    arena.stack.hold(planned.target)
    try:
        _worked(lambda: _status(pid) is None, f"pid {pid} to end")
        yield f"pid {pid} ended"
    finally:
        arena.stack.release(planned.target)


def _killed(arena: Arena, target: str) -> str:
    pid = _pid(arena, target)
    arena.stack.kill(target, signal.SIGKILL)
    _worked(lambda: _status(pid) is None, f"pid {pid} to die")
    return f"pid {pid} died"


def _pid(arena: Arena, target: str) -> int:
    pid = arena.stack.pids().get(target)
    if pid is None:
        raise DidNotFireError(f"there is no process {target!r}")
    if _status(pid) is None:
        raise DidNotFireError(f"{target}, pid {pid}, had ended already")
    return pid


def _status(pid: int) -> str | None:
    """Return what the process does; None when it is dead."""
    try:
        status = str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None
    return None if status == psutil.STATUS_ZOMBIE else status


def _worked(condition: Callable[[], bool], what: str) -> None:
    try:
        until(condition, within_s=WORKED_WITHIN_S, what=what)
    except TooLateError as error:
        raise DidNotFireError(str(error)) from error
