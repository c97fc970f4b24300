"""Which message kills its process? After a crash the first messages run in small groups, then one by one.

Every start is recorded before it. A group that died tells only where to look: its messages run
alone next time, and only those starts are counted (docs/design.md, "Inbox"). So a process killed
from outside costs its successor a few small transactions, and condemns nobody.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.messaging import starts
from paidonce.app.steps import step
from paidonce.workers.consumer_records import Arrival

#: Messages of one group: about the square root of a batch, so that neither groups nor messages alone are many.
GROUP = 50


def deadly(started: int, alone_starts: int) -> str:
    """Say why a message that was started alone so often shall not run again; empty when it may."""
    if started <= alone_starts:
        return ""
    return f"its process died each of the {started - 1} times that it ran alone"


@dataclass(slots=True)
class Suspicion:
    """What is suspected in one partition."""

    #: records that may have been in the batch that died
    left: int
    #: where the last recorded start began; None: nothing was recorded
    begun: int | None
    #: records that run alone, because the group that they were in died
    alone: int = 0

    def size(self, first_offset: int, count: int) -> int:
        """Return how many of the next `count` records run together; 1 means alone."""
        if self.begun is not None:
            # A start that was finished lies behind us: its offset was committed.
            self.alone, self.begun = GROUP if first_offset <= self.begun else 0, None
        return 1 if self.alone else min(GROUP, count)

    def passed(self, count: int) -> None:
        """Note that so many records were done; what is disturbed comes again, as suspect as before."""
        self.alone -= min(self.alone, count)
        self.left -= count


@dataclass(slots=True)
class Crashes:
    """What one member knows of crashes in the partitions that it has."""

    bind: Engine
    consumer: str
    topic: str
    session: UUID
    #: records of a partition that a crash puts under suspicion: those of one batch
    batch: int
    alone_starts: int
    suspects: dict[int, Suspicion] = field(default_factory=dict)
    #: partition, offset and count of the last start alone that this process recorded
    begun: tuple[int, int, int] = (-1, -1, 0)

    def batches(self, arrivals: Sequence[Arrival]) -> Iterator[Sequence[Arrival]]:
        """Yield what to do in one transaction each: what is suspected first, its start recorded; then all others."""
        free = [one for one in arrivals if one.record.partition not in self.suspects]
        for partition in [*self.suspects]:
            here = [one for one in arrivals if one.record.partition == partition]
            yield from self.suspected(partition, here)
        if free:
            yield free

    def suspected(self, partition: int, arrivals: Sequence[Arrival]) -> Iterator[Sequence[Arrival]]:
        """Yield the partition's arrivals in groups, or alone; all that is left when the suspicion is over."""
        suspicion = self.suspects[partition]
        while arrivals and suspicion.left > 0:
            size = suspicion.size(arrivals[0].record.offset, len(arrivals))
            yield [self.start(arrivals[0])] if size == 1 else self.start_group(arrivals[:size])
            suspicion.passed(size)
            arrivals = arrivals[size:]
        if suspicion.left <= 0:
            del self.suspects[partition]
            if arrivals:
                yield arrivals

    def start_group(self, group: Sequence[Arrival]) -> Sequence[Arrival]:
        """Record that the group is begun, and return it."""
        self.begin_group(group[0].record.partition, group[0].record.offset)
        return group

    def start(self, arrival: Arrival) -> Arrival:
        """Record that the arrival is begun alone, and return it, condemned if that was too often."""
        partition, offset = arrival.record.partition, arrival.record.offset
        if self.begun[:2] != (partition, offset):
            self.begun = (partition, offset, self.begin_alone(partition, offset))
        fault = deadly(self.begun[2], self.alone_starts)
        return arrival.condemned(fault) if fault else arrival

    @step("consumer.take")
    def take(self, partitions: frozenset[int]) -> None:
        """Hold partitions that came to us; after a crash their next records are under suspicion."""
        with db.begin(self.bind) as tx:
            crashed = starts.hold(tx, partitions=partitions, session=self.session, **self.place)
        for partition in partitions:
            self.suspects.pop(partition, None)
        self.suspects |= {partition: Suspicion(self.batch, begun) for partition, begun in crashed.items()}
        structlog.get_logger().info("partitions taken", partitions=sorted(partitions), after_crash=sorted(crashed))

    @step("consumer.give_back")
    def give_back(self, partitions: Collection[int]) -> None:
        """Let go of partitions; what fails here only makes the next holder more careful."""
        try:
            with db.begin(self.bind) as tx:
                starts.give_back(tx, partitions=partitions, session=self.session, **self.place)
        except Exception as error:  # noqa: BLE001  it runs inside Kafka's client, which must leave the group anyway
            structlog.get_logger().warning("partitions not given back", error=repr(error))

    @step("consumer.begin_group")
    def begin_group(self, partition: int, offset: int) -> None:
        """Record the start of a group of messages."""
        with db.begin(self.bind) as tx:
            starts.begin_group(tx, partition=partition, offset=offset, **self.place)

    @step("consumer.begin_alone")
    def begin_alone(self, partition: int, offset: int) -> int:
        """Record the start of a message that runs alone; return how often it was started so."""
        with db.begin(self.bind) as tx:
            return starts.begin_alone(tx, partition=partition, offset=offset, **self.place)

    @property
    def place(self) -> dict[str, str]:
        """Where our starts are recorded."""
        return {"consumer": self.consumer, "topic": self.topic}
