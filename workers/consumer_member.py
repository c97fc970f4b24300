"""How does a member of a consumer group work? Poll a batch, do it in one transaction, then commit the offsets.

State lives in Kafka and PostgreSQL only: whatever goes wrong, the batch is rewound and comes
again, and the inbox tells what of it was done (docs/design.md, "Inbox").
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine

from paidonce.app import db, trace_context
from paidonce.app.clock import new_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import brakes, dead_letters, parked, starts
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.hint import Hinter
from paidonce.app.messaging.topics import topic_of
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers import retention
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.broker_consumer import NotMemberError, Source, TopicMissingError
from paidonce.workers.broker_topic import keeps
from paidonce.workers.consumer_batch import ApartError, apart, together
from paidonce.workers.consumer_brake import Brake, BrakedError
from paidonce.workers.consumer_crashes import Crashes
from paidonce.workers.consumer_metrics import Meter, Tally
from paidonce.workers.consumer_pace import Pace
from paidonce.workers.consumer_parked import ParkedWork
from paidonce.workers.consumer_records import Arrival, Record, read
from paidonce.workers.relay_topics import Routes

#: Seconds of one poll without records: a stop, and a parked message that is due, wait for it.
POLL_S = 0.2
#: Seconds between looks at the brake, which another member may have engaged and a person released.
BRAKE_LOOK_S = 1.0
#: Seconds between counts of what waits: a large count costs milliseconds.
COUNT_S = 10.0
#: Seconds that a start waits for its topic, which the relay makes at its own first start.
TOPIC_WAIT_S = 60.0
#: Starts of a message whose work leaves this process: it cannot kill it, whatever does comes from outside.
PUSHED_STARTS = 2**31 - 1

_log = structlog.get_logger()


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
    crashes: Crashes = field(init=False)
    parked: ParkedWork = field(init=False)
    meter: Meter = field(init=False)
    hinter: Hinter = field(init=False)
    brake: Brake = field(init=False)
    pace: Pace = field(init=False)
    #: why the consumer stands still; None: it does not, as far as we have looked
    braked: str | None = None
    #: partition -> first offset of the last poll that is not committed
    behind: dict[int, int] = field(default_factory=dict)
    joined: bool = False
    topic_due_at: float = field(default_factory=lambda: monotonic() + TOPIC_WAIT_S)
    look_at: float = 0.0
    count_at: float = 0.0
    #: rebalances that the metrics have
    counted: int = 0

    def __post_init__(self) -> None:
        settings, name = self.settings, self.subscriber.name
        starts_max = PUSHED_STARTS if self.subscriber.alone else settings.consumer_alone_starts
        self.meter, self.hinter = Meter(name), Hinter(db.libpq_dsn(settings))
        self.brake, self.pace = Brake(settings.brake_window, settings.brake_share), Pace(self.most)
        topic = self.topic
        self.crashes = Crashes(
            self.bind, name, topic, self.session, batch=settings.consumer_batch, alone_starts=starts_max
        )
        self.parked = ParkedWork(self.bind, self.subscriber, self.session, starts_max, self.brake, self.committed)
        group = group_of(settings, name)
        self.source = Source(settings, group=group, topic=topic, give_back=self.crashes.give_back)

    @property
    def topic(self) -> str:
        """The topic that it reads."""
        return topic_of(self.settings, self.subscriber.aggregatetype)

    @property
    def most(self) -> int:
        """Messages of one transaction, at most."""
        return 1 if self.subscriber.alone else self.settings.consumer_batch

    def join(self) -> None:
        """Join the group.

        Raises:
            TopicMissingError: not yet; try again.
            ConfigurationError: the topic never came, or keeps its records for too long.
        """
        topic = self.topic
        if topic != self.settings.topic:
            # The relay makes it with the first event, which may be long after the first consumer.
            Routes(self.settings, self.bind).learn({topic})
        try:
            self.source.subscribe()
        except TopicMissingError as error:
            if monotonic() > self.topic_due_at:
                never = f"there is no topic {topic} (PAIDONCE_TOPIC): start the relay first"
                raise ConfigurationError(never) from error
            raise
        retention.check(self.settings, keeps(self.settings, topic), name=topic)
        self.joined = True

    def run_once(self) -> int:
        """Work off what is due and what has arrived; return how many messages that was."""
        if not self.joined:
            self.join()
        if monotonic() >= self.look_at:
            self.look()
        if self.braked is not None:
            self.source.stay(POLL_S)
            raise BrakedError(self.subscriber.name, self.braked)
        worked = self.parked.run_once()
        if self.brake.engaged:
            self.stand_still()
            return worked
        sleep(max(0.0, self.pace.gather_until - monotonic()))
        records = self.source.poll(0 if worked else POLL_S, most=self.pace.most)
        self.behind.clear()
        try:
            if self.source.arrived:
                self.take()
            return worked + self.work(records)
        except Exception as error:
            self.rewind(records)
            if isinstance(error, NotMemberError | PartitionsGoneError):
                self.source.doubt()
            raise

    def take(self) -> None:
        """Hold the partitions that came to us."""
        arrived = frozenset(self.source.arrived)
        self.crashes.take(arrived)
        self.source.arrived -= arrived

    def work(self, records: Sequence[Record]) -> int:
        """Do the records, those under suspicion first; return how many were done, fewer when the brake engaged."""
        done = 0
        for batch in self.crashes.batches([read(record, self.subscriber) for record in records]):
            done += self.work_batch(batch)
            if self.brake.engaged:
                self.stand_still()
                self.rewind(records)
                break
        return done

    def rewind(self, records: Sequence[Record]) -> None:
        """Let those of `records` come again that are not committed."""
        undone = [one for one in records if one.offset >= self.behind.get(one.partition, 0)]
        self.source.rewind(undone)
        self.meter.redelivered(len(undone))

    def work_batch(self, batch: Sequence[Arrival]) -> int:
        """Do a batch and commit its offsets; return how many, fewer when the brake engaged."""
        with trace_context.within_all(lambda: [arrival.traceparent for arrival in batch]):
            return self._work_batch(batch)

    def _work_batch(self, batch: Sequence[Arrival]) -> int:
        began = monotonic()
        # S9: inbox row and handler's work are one transaction; the offsets follow it, never lead.
        try:
            tally = self.commit_apart(batch) if self.subscriber.alone else self.commit_together(batch)
        except ApartError:
            tally = self.commit_apart(batch)
        self.pace.note(len(batch), began, monotonic())
        self.committed(tally)
        offsets = {one.record.partition: one.record.offset + 1 for one in batch[: tally.count]}
        self.source.commit_offsets(offsets)
        self.behind |= offsets
        return tally.count

    @step("consumer.commit")
    def commit_together(self, batch: Sequence[Arrival]) -> Tally:
        """Do the batch as one; raises ApartError when that cannot be."""
        with db.begin(self.bind) as tx:
            tally = together(tx, self.subscriber, batch)
            self.check_ours(tx, batch)
        for _ in range(min(tally.done, self.brake.window)):
            self.brake.note(poison=False)
        return tally

    @step("consumer.commit_apart")
    def commit_apart(self, batch: Sequence[Arrival]) -> Tally:
        """Do the batch one by one in one transaction; return how many were done."""
        brake = self.brake.copy()
        with db.begin(self.bind) as tx:
            tally = apart(tx, self.subscriber, batch, brake)
            self.check_ours(tx, batch)
        self.brake.adopt(brake)
        return tally

    def committed(self, tally: Tally) -> None:
        """Do what follows a COMMIT: whatever the handlers wrote is there for others to find."""
        self.meter.committed(tally)
        if tally.done and self.subscriber.hints:
            self.hinter.hint(*self.subscriber.hints)

    def check_ours(self, tx: Connection, batch: Sequence[Arrival]) -> None:
        """Finish no work for partitions that are gone; raises PartitionsGoneError.

        A process that was stopped does not know yet that Kafka gave them away: who has them now
        wrote so before it began.
        """
        partitions = {one.record.partition for one in batch}
        if not self.source.still_ours() or not starts.holds(
            tx, partitions=partitions, session=self.session, **self.crashes.place
        ):
            raise PartitionsGoneError

    def close(self) -> None:
        """Give back what was begun and the partitions, leave the group, give no more hints."""
        self.parked.close()
        self.source.close()
        self.hinter.close()

    @step("consumer.look")
    def look(self) -> None:
        """See whether the consumer stands still, and now and then how much waits."""
        name = self.subscriber.name
        with db.begin(self.bind) as tx:
            reason = brakes.engaged(tx, name)
            if monotonic() >= self.count_at:
                self.meter.waiting(parked=parked.count(tx, name), dead=dead_letters.count(tx, name))
                self.count_at = monotonic() + COUNT_S
        self.meter.brake(engaged=reason is not None)
        self.meter.group(lag=self.source.lag(), rebalances=self.source.rebalances - self.counted)
        self.counted = self.source.rebalances
        if reason is None and self.braked is not None:
            _log.info("brake released", consumer=name)
            self.brake.reset()
            self.source.go_on()
        elif reason is not None and self.braked is None:
            _log.error("brake engaged", consumer=name, reason=reason, release=f"paidonce brake release {name}")
        self.braked = reason
        self.look_at = monotonic() + BRAKE_LOOK_S

    def stand_still(self) -> None:
        """Look at once for the brake that our own last transaction engaged."""
        self.look_at = 0.0
        self.brake.reset()
