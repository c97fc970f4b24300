"""S9: the offsets are committed first, then the work is done.

A consumer that dies in between never sees those messages again.
"""

from collections.abc import Sequence

from paidonce.chaos.sabotage.patching import swap
from paidonce.workers.consumer_batch import ApartError
from paidonce.workers.consumer_member import Member
from paidonce.workers.consumer_records import Arrival


def work_batch(member: Member, batch: Sequence[Arrival]) -> int:
    """Tell Kafka that we have the batch, and do it."""
    offsets = {one.record.partition: one.record.offset + 1 for one in batch}
    member.source.commit_offsets(offsets)
    member.behind |= offsets
    try:
        tally = member.commit_together(batch)
    except ApartError:
        tally = member.commit_apart(batch)
    member.committed(tally)
    return tally.count


def take_out() -> None:
    """Let the offset lead."""
    swap(Member, "work_batch", work_batch)
