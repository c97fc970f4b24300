"""What did a process cost? CPU seconds and resident memory, its children's included, sampled while it works."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic

import psutil

MB = 2**20


@dataclass
class Meter:
    """One process under watch; `look` as often as its memory shall be seen."""

    pid: int
    #: (monotonic seconds, CPU seconds so far)
    cpu: list[tuple[float, float]] = field(default_factory=list)
    #: (monotonic seconds, resident MB)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def look(self) -> None:
        """Take a sample; a process that has ended keeps its last."""
        now = monotonic()
        try:
            process = psutil.Process(self.pid)
            tree = [process, *process.children(recursive=True)]
            self.cpu.append((now, sum(map(_cpu_s, tree))))
            self.memory.append((now, process.memory_info().rss / MB))
        except psutil.NoSuchProcess:
            return

    def cpu_s(self, start: float, end: float) -> float:
        """Return the CPU seconds between two moments (monotonic seconds), between samples by proportion."""
        return at(self.cpu, end) - at(self.cpu, start)

    def peak_mb(self) -> float:
        """Return the most resident memory that was seen."""
        return max((size for _, size in self.memory), default=0.0)


def meters(pids: Mapping[str, int]) -> dict[str, Meter]:
    """Return a meter for each process, with a first sample."""
    found = {name: Meter(pid) for name, pid in pids.items()}
    for meter in found.values():
        meter.look()
    return found


def at(series: list[tuple[float, float]], moment: float) -> float:
    """Return the value of a growing series at `moment`, between samples by proportion; its ends beyond them."""
    for (before, low), (after, high) in pairwise(series):
        if moment < before:
            return low
        if moment <= after:
            return low + (high - low) * (moment - before) / (after - before) if after > before else high
    return series[-1][1] if series else 0.0


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    # A server's child that ended is in its parent's account once it was waited for.
    return float(sum(times[:4]))
