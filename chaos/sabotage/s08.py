"""S8: a window is recorded without asking for the lease's epoch, by an upsert, so that a retry does no harm.

A relay that slept past its lease wakes up and puts its own window under a number that its successor has used.
"""

from paidonce.chaos.sabotage.patching import reword
from paidonce.workers import leases, windows

UPSERT = """
    ON CONFLICT (shard, number)
    DO UPDATE SET epoch = EXCLUDED.epoch, s1 = EXCLUDED.s1, s2 = EXCLUDED.s2, lo = EXCLUDED.lo, hi = EXCLUDED.hi,
                  identity = EXCLUDED.identity
"""


def take_out() -> None:
    """Insert, or replace."""
    reword(windows, "RECORD", f"WHERE {leases.HELD}", UPSERT)
