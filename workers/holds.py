"""Who still needs a day of the outbox or of the inbox that is old enough to go?

A day of the outbox goes when no transaction can still commit into it, every shard has published
it, and every consumer has got all of it: until then the outbox is what a consumer can be given
its events from, whatever the topic has forgotten. A day of the inbox goes when nothing arrived
in it for the retention, and nothing of it can come back (docs/design.md, "Retention").
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Engine

from paidonce.app import installation
from paidonce.app.clock import Clock
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import partitions, readers
from paidonce.app.messaging.topics import about_of
from paidonce.app.settings import Settings
from paidonce.workers import broker_topic, cdc_slot, retention, windows
from paidonce.workers.broker_lag import unread_since
from paidonce.workers.consumer_member import group_of
from paidonce.workers.leases import Session

#: Events of a shard that wait are counted no further.
WAITING_MOST = 100_000
ONE_DAY = timedelta(days=1)
#: How a moment is told: to the second, in UTC.
MOMENT = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a day stays."""

    #: a word for the metric
    why: str
    #: who and how far, and what to do, for the log; empty: it is as it should be
    said: str = ""


class Holds:
    """Answers for one round of the cleaner: Kafka is asked at most once a topic, and only when a day may go."""

    def __init__(self, settings: Settings, bind: Engine, *, now: datetime, clock: Clock) -> None:
        """Begin a round; `now` is the database's time, `clock` this machine's."""
        self._settings = settings
        self._bind = bind
        self._now = now
        self._wrong = self._of_clocks(abs(clock.now() - now))
        #: topic -> consumer -> since when it has not read
        self._unread: dict[str, dict[str, datetime | None]] = {}
        self._keeps: dict[str, broker_topic.Keeps | None] = {}

    def of_outbox(self, session: Session, day: date) -> Hold | None:
        """Return why the outbox's partition of `day` stays; None when it may go.

        Raises:
            BrokerAwayError: Kafka did not say who has read what.
            ConfigurationError: Kafka never will.
        """
        if self._wrong:
            return self._wrong
        end = partitions.midnight(day + ONE_DAY)
        with self._bind.connect() as tx:
            writer = partitions.began_before(tx, end)
        if writer:
            return Hold("transaction", f"{writer} may still commit an event of that day: end it")
        # After that look no row can still come, so what is visible now is all that there will be.
        return self._of_relay(session, day) or self._of_consumers(day, end)

    def of_inbox(self, day: date) -> Hold | None:
        """Return why the inbox's partition of `day` stays; None when it may go.

        Raises:
            BrokerAwayError: Kafka did not say how long its topic keeps records.
            ConfigurationError: Kafka never will.
        """
        if self._wrong:
            return self._wrong
        with self._bind.connect() as tx:
            newest = partitions.newest_arrival(tx, day)
            if newest is not None and newest >= self._now - timedelta(days=self._settings.inbox_retention_d):
                return Hold("arrivals")
            # An id of that day may be of an event whose row is of a day beside it.
            first, last = day - ONE_DAY, day + ONE_DAY
            kept = [*partitions.attached(tx, "outbox"), *partitions.loose(tx, "outbox")]
            gone = partitions.gone_since(tx, first, last)
        if any(first <= one <= last for one in kept):
            return Hold("outbox", "the outbox still has events of that day, and they may be published again")
        return self._of_topic(gone)

    def _of_clocks(self, apart: timedelta) -> Hold | None:
        """One clock that is wrong must not make days old."""
        if apart <= timedelta(seconds=self._settings.clock_skew_s):
            return None
        return Hold("clock", f"the database's clock and this machine's are {apart} apart: set them right")

    def _of_relay(self, session: Session, day: date) -> Hold | None:
        name = partitions.name_of("outbox", day)
        with self._bind.connect() as tx:
            shards = installation.shards(tx)
        if self._settings.cdc_slot:
            return self._of_cdc(session, name, shards)
        behind = [n for n in range(shards) if not windows.published_wholly(session, n, name)]
        if not behind:
            return None
        found = [windows.after(session, n, windows.surely_published(session, n), most=WAITING_MOST) for n in behind]
        waiting, oldest_s = sum(count for count, _ in found), max(age_s for _, age_s in found)
        named = ", ".join(map(str, behind))
        return Hold(
            "relay",
            f"of shard {named} {waiting} events are not known to be published, the oldest "
            f"{timedelta(seconds=round(oldest_s))} old: start a relay",
        )

    def _of_cdc(self, session: Session, name: str, shards: int) -> Hold | None:
        slot = self._settings.cdc_slot
        try:
            passed = cdc_slot.passed_wholly(session, slot, name, shards=shards)
        except ConfigurationError as error:
            return Hold("cdc", str(error))
        return None if passed else Hold("cdc", f"slot {slot} has not passed all of {name}: start Debezium")

    def _of_consumers(self, day: date, end: datetime) -> Hold | None:
        with self._bind.connect() as tx:
            known = {topic: readers.known(tx, topic) for topic in {*readers.topics(tx, self._settings.topic).values()}}
        for topic in sorted(known):
            hold = self._of_readers(topic, known[topic], day, end)
            if hold is not None:
                return hold
        return None

    def _of_readers(self, topic: str, known: Mapping[str, datetime], day: date, end: datetime) -> Hold | None:
        unread, about = self._ask(topic, known), about_of(self._settings, topic)
        for consumer, since in known.items():
            # What the topic still has for it is cheap to see; what the topic has forgotten only the inbox knows.
            oldest = unread[consumer]
            if oldest is not None and oldest <= end + timedelta(seconds=self._settings.clock_skew_s):
                return _behind(consumer, f"has read to {oldest:{MOMENT}} only: start it")
            with self._bind.connect() as tx:
                missed = readers.missed(tx, consumer, day, about=about, since=since)
            if missed is not None:
                lost = f"never got event {missed.id} of {missed.created_at:{MOMENT}}: publish that day again"
                return _behind(consumer, f"{lost} with `paidonce outbox replay`")
        return None

    def _of_topic(self, gone: datetime | None) -> Hold | None:
        with self._bind.connect() as tx:
            topics = {self._settings.topic, *readers.topics(tx, self._settings.topic).values()}
        for topic in sorted(topics):
            if topic not in self._keeps:
                self._keeps[topic] = broker_topic.keeps(self._settings, topic)
            keeps = self._keeps[topic]
            try:
                retention.check(self._settings, keeps, name=topic)
            except ConfigurationError as error:
                return Hold("topic", str(error))
            comes_back = sum(retention.comes_back_within(self._settings, keeps).values(), timedelta())
            if gone is not None and gone >= self._now - comes_back:
                return Hold("comes_back")
        return None

    def _ask(self, topic: str, consumers: Collection[str]) -> dict[str, datetime | None]:
        if topic not in self._unread:
            groups = {group_of(self._settings, one): one for one in consumers}
            found = unread_since(self._settings, topic, groups)
            self._unread[topic] = {groups[one]: since for one, since in found.items()}
        return self._unread[topic]


def _behind(consumer: str, said: str) -> Hold:
    return Hold("consumer", f"consumer {consumer} {said}, or `paidonce consumers forget {consumer}` when it is gone")
