"""Which message kills its process? Starts are counted apart from finishes, and only alone.

A process writes its session's id when it is given a partition and takes it away when it gives
the partition back. Who finds another's id there follows a crash, and runs the first batch one by
one with each start recorded first: so only a message that ran alone when the process died is
counted (docs/design.md, "Inbox"). Home of the table `starts`.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection, case, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.tables import starts

#: Stands for the topic of parked messages, which belong to no partition: each has a row while it runs.
PARKED = "(parked)"
#: `partition` is an integer, a parked message's position a bigint.
INTEGER_MAX = 2**31 - 1


def hold(tx: Connection, *, consumer: str, topic: str, partitions: Collection[int], session: UUID) -> set[int]:
    """Write `session` as holder of the partitions; return those whose last holder never gave them back."""
    found = tx.execute(
        select(starts.c.partition, starts.c.holder)
        .where(starts.c.consumer == consumer, starts.c.topic == topic, starts.c.partition.in_(partitions))
        .with_for_update()
    )
    crashed = {partition for partition, holder in found if holder not in (None, session)}
    statement = insert(starts).values(
        [{"consumer": consumer, "topic": topic, "partition": one, "holder": session} for one in sorted(partitions)]
    )
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=[starts.c.consumer, starts.c.topic, starts.c.partition], set_={"holder": session}
        )
    )
    return crashed


def give_back(tx: Connection, *, consumer: str, topic: str, partitions: Collection[int], session: UUID) -> None:
    """Clear the holder of the partitions wherever it is still `session`."""
    tx.execute(
        update(starts)
        .where(
            starts.c.consumer == consumer,
            starts.c.topic == topic,
            starts.c.partition.in_(partitions),
            starts.c.holder == session,
        )
        .values(holder=None)
    )


def begin_alone(tx: Connection, *, consumer: str, topic: str, partition: int, offset: int) -> int:
    """Count a start of the message at `offset`, which runs alone; return how often it has been started so."""
    again = starts.c.alone_offset == offset
    started: int = tx.execute(
        update(starts)
        .where(starts.c.consumer == consumer, starts.c.topic == topic, starts.c.partition == partition)
        .values(alone_offset=offset, alone_starts=case((again, starts.c.alone_starts + 1), else_=1))
        .returning(starts.c.alone_starts)
    ).scalar_one()
    return started


def begin_parked(tx: Connection, *, consumer: str, position: int, session: UUID) -> int:
    """Count a start of the parked message at `position`; return by how many sessions it was started unfinished."""
    statement = insert(starts).values(
        consumer=consumer,
        topic=PARKED,
        partition=position % INTEGER_MAX,
        holder=session,
        alone_offset=position,
        alone_starts=1,
    )
    again = case((starts.c.holder == session, 0), else_=1)
    started: int = tx.execute(
        statement.on_conflict_do_update(
            index_elements=[starts.c.consumer, starts.c.topic, starts.c.partition],
            set_={"holder": session, "alone_starts": starts.c.alone_starts + again},
        ).returning(starts.c.alone_starts)
    ).scalar_one()
    return started


def end_parked(tx: Connection, *, consumer: str, position: int) -> None:
    """Forget the starts of a parked message that got its answer."""
    tx.execute(
        delete(starts).where(
            starts.c.consumer == consumer, starts.c.topic == PARKED, starts.c.partition == position % INTEGER_MAX
        )
    )
