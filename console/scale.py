"""Where in a plot does a value lie, and which values stand at its edge?"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, log10


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps the values from `low` to `high` to the pixels from `start` to `end`, evenly or by powers of ten."""

    low: float
    high: float
    start: float
    end: float
    by_powers: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value, at the edge when the value lies beyond."""
        low, high, value = (log10(one) if self.by_powers else one for one in (self.low, self.high, self._within(value)))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def _within(self, value: float) -> float:
        return min(self.high, max(self.low, value))


def ticks(high: float, most: int) -> Iterator[float]:
    """Yield round values from 0 to `high`: not more than `most` + 1, in steps of 1, 2 or 5 times a power of ten."""
    rough = max(high, 1e-9) / most
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    yield from (round(number * step, 9) for number in range(int(high / step + 1e-9) + 1))


def powers(low: float, high: float) -> Iterator[float]:
    """Yield the powers of ten from `low` to `high`."""
    yield from (10.0**number for number in range(floor(log10(low)), floor(log10(high)) + 1))
