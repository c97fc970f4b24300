"""How does a member of a consumer group work? Poll a batch, do it in one transaction, then commit the offsets.

State lives in Kafka and PostgreSQL only: whatever goes wrong, the batch is rewound and comes
again, and the inbox tells what of it was done (docs/design.md, "Inbox").
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import parked, starts
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers import consumer_parked, retention
from paidonce.workers.broker_consumer import BrokerAwayError, Source, TopicMissingError, topic_times
from paidonce.workers.consumer_batch import ApartError, apart, together
from paidonce.workers.consumer_brake import Brake, BrakedError
from paidonce.workers.consumer_records import Arrival, Record, read

#: Seconds of one poll without records: a stop, and a parked message that is due, wait for it.
POLL_S = 0.2
#: Seconds between looks for parked messages that are due, while none was found.
PARKED_LOOK_S = 0.2
#: Seconds that a start waits for its topic, which the relay makes at its own first start.
TOPIC_WAIT_S = 60.0


class PartitionsGoneError(Exception):
    """Kafka gave our partitions to another member: what we were doing is theirs now."""


def is_transient(error: BaseException) -> bool:
    """Tell whether the same batch may succeed when it comes again."""
    ours = BrokerAwayError | TopicMissingError | PartitionsGoneError | BrakedError
    return db.is_transient(error) or isinstance(error, ours)


def group_of(settings: Settings, consumer: str) -> str:
    """Return the consumer's group in Kafka."""
    # With the topic's name: two installations on one cluster have two topics, and a group of both would share them out.
    return f"{settings.topic}-{consumer}"


@dataclass(slots=True)
class Member:
    """One member of a subscriber's group."""

    settings: Settings
    bind: Engine
    subscriber: Subscriber
    session: UUID = field(default_factory=new_id)
    source: Source = field(init=False)
    brake: Brake = field(init=False)
    #: partition -> how many of its next records may have killed their process, and run alone
    suspects: dict[int, int] = field(default_factory=dict)
    #: partition, offset and count of the last start that this process recorded
    begun: tuple[int, int, int] = (-1, -1, 0)
    joined: bool = False
    topic_due_at: float = field(default_factory=lambda: monotonic() + TOPIC_WAIT_S)
    parked_look_at: float = 0.0

    def __post_init__(self) -> None:
        self.brake = Brake(self.settings.brake_window, self.settings.brake_share)
        self.source = Source(
            self.settings,
            group=group_of(self.settings, self.subscriber.name),
            topic=self.settings.topic,
            give_back=self.give_back,
        )

    def join(self) -> None:
        """Join the group.

        Raises:
            TopicMissingError: not yet; try again.
            ConfigurationError: the topic never came, or keeps its records for too long.
        """
        if monotonic() > self.topic_due_at:
            raise ConfigurationError(f"there is no topic {self.settings.topic} (PAIDONCE_TOPIC): start the relay first")
        self.source.subscribe()
        topic, segment = topic_times(self.settings, self.settings.topic)
        retention.check(self.settings, topic=topic, segment=segment)
        self.joined = True

    def run_once(self) -> int:
        """Work off what is due and what has arrived; return how many messages that was."""
        if not self.joined:
            self.join()
        if self.brake.engaged:
            self.source.stay()
            raise BrakedError
        worked = self.work_off_parked()
        records = self.source.poll(0 if worked else POLL_S)
        try:
            if self.source.arrived:
                self.take(frozenset(self.source.arrived))
            return worked + self.work(records)
        except Exception:
            self.source.rewind(records)
            raise

    def work(self, records: Sequence[Record]) -> int:
        """Do the records, those under suspicion alone; return how many were done."""
        done = 0
        batch: list[Arrival] = []
        for record in records:
            arrival = read(record, self.subscriber.aggregatetype)
            if self.suspects.get(record.partition, 0) > 0:
                done += self.work_alone(arrival)
            else:
                batch.append(arrival)
        return done + (self.work_batch(batch) if batch else 0)

    def work_batch(self, batch: Sequence[Arrival]) -> int:
        """Do a batch and commit its offsets; return how many, fewer when the brake engaged."""
        # S9: inbox row and handler's work are one transaction; the offsets follow it, never lead.
        try:
            done = self.commit_together(batch)
        except ApartError:
            done = self.commit_apart(batch)
        self.source.commit_offsets({one.record.partition: one.record.offset + 1 for one in batch[:done]})
        if done < len(batch):
            self.source.rewind([one.record for one in batch[done:]])
        return done

    def work_alone(self, arrival: Arrival) -> int:
        """Do one message that may have killed its process, its start recorded first."""
        partition, offset = arrival.record.partition, arrival.record.offset
        if self.begun[:2] != (partition, offset):
            self.begun = (partition, offset, self.begin_alone(partition, offset))
        fault = self.deadly(self.begun[2])
        done = self.work_batch([arrival.condemned(fault) if fault else arrival])
        self.suspects[partition] -= 1
        return done

    @step("consumer.commit")
    def commit_together(self, batch: Sequence[Arrival]) -> int:
        """Do the batch as one; raises ApartError when that cannot be."""
        with db.begin(self.bind) as tx:
            new = together(tx, self.subscriber, batch)
            self.check_ours()
        for _ in range(min(new, self.brake.window)):
            self.brake.note(poison=False)
        return len(batch)

    @step("consumer.commit_apart")
    def commit_apart(self, batch: Sequence[Arrival]) -> int:
        """Do the batch one by one in one transaction; return how many were done."""
        brake = self.brake.copy()
        with db.begin(self.bind) as tx:
            done = apart(tx, self.subscriber, batch, brake)
            self.check_ours()
        self.brake = brake
        return done

    def check_ours(self) -> None:
        """Finish no work for partitions that are gone; raises PartitionsGoneError."""
        if not self.source.still_ours():
            raise PartitionsGoneError

    @step("consumer.take")
    def take(self, partitions: frozenset[int]) -> None:
        """Hold partitions that came to us; after a crash their next batch is under suspicion."""
        with db.begin(self.bind) as tx:
            crashed = starts.hold(tx, partitions=partitions, session=self.session, **self.place)
        for partition in partitions:
            self.suspects[partition] = self.settings.consumer_batch if partition in crashed else 0
        self.source.arrived -= partitions
        structlog.get_logger().info("partitions taken", partitions=sorted(partitions), after_crash=sorted(crashed))

    @step("consumer.give_back")
    def give_back(self, partitions: Collection[int]) -> None:
        """Let go of partitions; what fails here only makes the next holder more careful."""
        try:
            with db.begin(self.bind) as tx:
                starts.give_back(tx, partitions=partitions, session=self.session, **self.place)
        except Exception as error:  # noqa: BLE001  it runs inside Kafka's client, which must leave the group anyway
            structlog.get_logger().warning("partitions not given back", error=repr(error))

    @step("consumer.begin_alone")
    def begin_alone(self, partition: int, offset: int) -> int:
        """Record the start of a message that runs alone; return how often it was started so."""
        with db.begin(self.bind) as tx:
            return starts.begin_alone(tx, partition=partition, offset=offset, **self.place)

    def work_off_parked(self) -> int:
        """Try one parked message that is due, its start recorded first; return how many that was."""
        if monotonic() < self.parked_look_at:
            return 0
        position, started = self.begin_parked()
        if position is None:
            self.parked_look_at = monotonic() + PARKED_LOOK_S
            return 0
        return int(self.work_off(position, self.deadly(started)))

    @step("consumer.begin_parked")
    def begin_parked(self) -> tuple[int | None, int]:
        """Record the start of a parked message that is due; return its position and how often it was started."""
        with db.begin(self.bind) as tx:
            position = parked.due(tx, self.subscriber.name)
            if position is None:
                return None, 0
            name = self.subscriber.name
            return position, starts.begin_parked(tx, consumer=name, position=position, session=self.session)

    @step("consumer.work_off")
    def work_off(self, position: int, fault: str) -> bool:
        """Try the parked message, or condemn it; False when another process has it."""
        with db.begin(self.bind) as tx:
            return consumer_parked.work_off(tx, self.subscriber, position, fault=fault)

    def deadly(self, started: int) -> str:
        """Say why a message that was started so often shall not run again; empty when it may."""
        if started <= self.settings.consumer_alone_starts:
            return ""
        return f"its process died each of the {started - 1} times that it ran alone"

    @property
    def place(self) -> dict[str, str]:
        """Where our starts are recorded."""
        return {"consumer": self.subscriber.name, "topic": self.settings.topic}
