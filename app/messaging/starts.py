"""Which message kills its process? Starts are counted apart from finishes, and only alone.

A process writes its session's id when it is given a partition and takes it away when it gives
the partition back. Who finds another's id there follows a crash, and runs the first messages in
small groups, each recorded first. Where a group died its messages run one by one, each start
recorded first: so only a message that ran alone when the process died is counted (docs/design.md,
"Inbox"). Home of the table `starts`.
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

#: Shared locks, which a new holder's update waits for; rows in order, so that nobody waits in a circle.
HOLDS = """
SELECT partition FROM starts
 WHERE consumer = %(consumer)s AND topic = %(topic)s AND partition = ANY (%(partitions)s::int[])
   AND holder = %(session)s
 ORDER BY partition
   FOR SHARE
"""


def hold(
    tx: Connection, *, consumer: str, topic: str, partitions: Collection[int], session: UUID
) -> dict[int, int | None]:
    """Write `session` as holder of the partitions; return those whose last holder never gave them back.

    Of each the offset at which the last recorded start began, None when there never was any.
    """
    found = tx.execute(
        select(starts.c.partition, starts.c.holder, starts.c.alone_offset)
        .where(starts.c.consumer == consumer, starts.c.topic == topic, starts.c.partition.in_(partitions))
        .order_by(starts.c.partition)
        .with_for_update()
    )
    crashed = {partition: offset for partition, holder, offset in found if holder not in (None, session)}
    statement = insert(starts).values(
        [{"consumer": consumer, "topic": topic, "partition": one, "holder": session} for one in sorted(partitions)]
    )
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=[starts.c.consumer, starts.c.topic, starts.c.partition], set_={"holder": session}
        )
    )
    return crashed


def holds(tx: Connection, *, consumer: str, topic: str, partitions: Collection[int], session: UUID) -> bool:
    """Tell whether `session` holds all the partitions, and let nobody take one before this transaction ends."""
    found = tx.exec_driver_sql(
        HOLDS, {"consumer": consumer, "topic": topic, "partitions": list(partitions), "session": session}
    )
    return len(found.all()) == len(partitions)


def topics(tx: Connection, first: str) -> dict[str, str]:
    """Return consumer -> topic for everybody who has ever held a partition; who has held one of `first` reads that."""
    held = select(starts.c.consumer, starts.c.topic).where(starts.c.topic != PARKED).distinct()
    return dict(sorted((tuple(row) for row in tx.execute(held)), key=lambda one: (one[1] == first, one)))


def forget(tx: Connection, *, consumer: str, topic: str) -> None:
    """Forget that `consumer` ever held a partition of `topic`."""
    tx.execute(delete(starts).where(starts.c.consumer == consumer, starts.c.topic == topic))


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


def begin_group(tx: Connection, *, consumer: str, topic: str, partition: int, offset: int) -> None:
    """Record that a group of messages is begun at `offset`; it counts as a start of none of them."""
    tx.execute(
        update(starts)
        .where(starts.c.consumer == consumer, starts.c.topic == topic, starts.c.partition == partition)
        .values(alone_offset=offset, alone_starts=0)
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
    """Count a start of the parked message at `position`; return how many have not come back, this one included.

    One that this session has begun already is not counted twice.
    """
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


def came_back(tx: Connection, *, consumer: str, position: int, session: UUID) -> None:
    """Take back this session's start of a parked message: it got no answer, but its process lives."""
    tx.execute(
        update(starts)
        .where(starts.c.consumer == consumer, starts.c.topic == PARKED, starts.c.partition == position % INTEGER_MAX)
        .values(
            alone_starts=starts.c.alone_starts - 1,
            holder=case((starts.c.holder != session, starts.c.holder), else_=None),
        )
    )


def end_parked(tx: Connection, *, consumer: str, position: int) -> None:
    """Forget the starts of a parked message that got its answer."""
    tx.execute(
        delete(starts).where(
            starts.c.consumer == consumer, starts.c.topic == PARKED, starts.c.partition == position % INTEGER_MAX
        )
    )
