"""What is one number for many? Percentiles of delays, and a rate from when each was done."""

from collections import Counter
from collections.abc import Sequence
from math import ceil


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 < share <= 1) of the values do not exceed.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no values: nothing was measured")
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def rate_of_batches(began_s: Counter[float]) -> float:
    """Return how many a second were done, from when each batch began and how many it had: {seconds: count}.

    The last batch's end is not known, so neither it nor its time counts.

    Raises:
        ValueError: there are fewer than two batches.
    """
    if len(began_s) < 2:
        raise ValueError("fewer than two batches: measure more")
    first, last = min(began_s), max(began_s)
    return (began_s.total() - began_s[last]) / (last - first)
