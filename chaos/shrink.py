"""Which of a run's faults does its failure need? Fewer and fewer are made, until none can be left out, or time is up.

Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002) over the faults'
numbers. A run is not deterministic: one that does not fail proves little, one that fails that its faults suffice.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import monotonic

#: Runs and seconds at most: some minutes, which a failure that is hard to read is worth.
RUNS_MOST, SECONDS_MOST = 12, 900.0


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What shrinking came to."""

    #: the numbers of the fewest faults that were seen to fail
    only: tuple[int, ...]
    #: how many there were
    of: int
    runs: int
    seconds: float
    #: whether leaving out any one more was tried, and did not fail
    smallest: bool


def shrink(
    numbers: Collection[int],
    fails: Callable[[Sequence[int]], bool],
    told: Callable[[str], None],
    *,
    runs_most: int = RUNS_MOST,
    seconds_most: float = SECONDS_MOST,
    now: Callable[[], float] = monotonic,
) -> Shrunk:
    """Return the fewest of the faults that still fail; `fails(only)` makes a run with these alone, `told` hears of it.

    With all of them it has failed already.
    """
    began, runs, fewest = now(), 0, sorted(numbers)
    tried: dict[tuple[int, ...], bool] = {}
    parts = 2
    while fewest:
        smaller = None
        for candidate in _candidates(fewest, parts):
            if tuple(candidate) in tried:
                continue
            if runs >= runs_most or now() - began >= seconds_most:
                return Shrunk(tuple(fewest), len(numbers), runs, now() - began, smallest=False)
            runs += 1
            failed = tried[tuple(candidate)] = fails(candidate)
            told(_words(runs, candidate, failed=failed))
            if failed:
                smaller = candidate
                break
        if smaller is not None:
            # What is left of n - 1 parts is taken in as many; a part alone is halved again.
            parts = max(2, parts - 1) if len(smaller) > len(fewest) // parts + 1 else 2
            fewest = list(smaller)
        elif parts >= len(fewest):
            break
        else:
            parts = min(len(fewest), 2 * parts)
    return Shrunk(tuple(fewest), len(numbers), runs, now() - began, smallest=True)


def _candidates(numbers: Sequence[int], parts: int) -> Iterator[list[int]]:
    """Yield none of them (the load alone may fail), each part, and all but each part."""
    yield []
    cuts = [round(len(numbers) * part / parts) for part in range(parts + 1)]
    spans = [(begin, end) for begin, end in pairwise(cuts) if begin < end]
    if len(numbers) > 1:
        for begin, end in spans:
            yield list(numbers[begin:end])
        for begin, end in spans:
            yield [*numbers[:begin], *numbers[end:]]


def _words(run: int, only: Sequence[int], *, failed: bool) -> str:
    named = f"fault {only[0]}" if len(only) == 1 else f"{len(only)} faults ({', '.join(map(str, only))})"
    return f"shrinking, run {run}: with {named if only else 'no fault'} it {'fails' if failed else 'does not fail'}"
