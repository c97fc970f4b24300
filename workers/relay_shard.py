"""How does one shard get published? Recover, then window after window, until somebody else owns it.

What is in memory here is only a copy: after every start, every new database session, and every
failure at or after a commit that began, it is thrown away and asked for anew (docs/design.md, "Relay").
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Engine

from paidonce.app.clock import Clock
from paidonce.app.settings import Settings
from paidonce.workers import aside, leases, relay_metrics, relay_open, relay_session, spans, windows
from paidonce.workers.broker_admin import Topics
from paidonce.workers.broker_marks import Mark, Marks
from paidonce.workers.broker_producer import AbortedError, Publisher, Record, TooLargeError
from paidonce.workers.leases import Lease, Session
from paidonce.workers.relay_recovery import Decision, ShardStoppedError, decide
from paidonce.workers.relay_topics import Routes
from paidonce.workers.stored import Part, Stored
from paidonce.workers.windows import Window

Result = TypeVar("Result")

#: A shard without a new event for so long counts as idle, and says in the database what was published.
IDLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Begun(Generic[Result]):
    """A function under way where it can be left behind."""

    #: whether `result` would not wait
    is_over: Callable[[], bool]
    #: waits for the function's result, and keeps every lease meanwhile
    result: Callable[[], Result]


class Begin(Protocol):
    """Begins a function where it can be left behind."""

    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Begun[Result]:
        """Return it, under way."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A window that is being published."""

    window: Window
    events: int
    publishing: Begun[None]


@dataclass(frozen=True, slots=True)
class Ahead:
    """What comes after a window under way: read, and made ready for Kafka, but not recorded."""

    part: Part
    records: list[Record]


class Shard:
    """One shard that this process owns."""

    def __init__(
        self, number: int, lease: Lease, *, settings: Settings, bind: Engine, clock: Clock, begin: Begin
    ) -> None:
        self.number = number
        self.lease = lease
        self._settings = settings
        # Its own: ids that another shard learns after a topic was recreated say nothing of what is in it of ours.
        self._routes = Routes(settings, bind)
        self._clock = clock
        self._begin = begin
        self._recovered = False
        self._publisher: Publisher | None = None
        self._newest: Window | None = None
        self._next_number = 1
        #: windows up to this number may be published already
        self._again_up_to = 0
        self._span_end = spans.POSITION_MAX
        self._under_way: UnderWay | None = None
        self._ahead: Ahead | None = None
        self._active_at = clock.monotonic()
        self._marked = 0

    @property
    def is_publishing(self) -> bool:
        """Whether a window is under way."""
        return self._under_way is not None

    @property
    def is_over(self) -> bool:
        """Whether `finish` would not wait."""
        return self._under_way is None or self._under_way.publishing.is_over()

    def begin(self, session: Session) -> None:
        """Begin to publish the next window, if there is one.

        Raises:
            LeaseLostError: another relay owns the shard.
            ShardStoppedError: an operator must look.
            BrokerAwayError, psycopg.Error: nobody knows; recovery comes next.
        """
        if not self._recovered:
            self._recover(session)
        ahead, self._ahead = self._ahead, None
        found = self._next_window(session, ahead)
        if found is None:
            self._rest(session)
            return
        window, events = found
        records = ahead.records if ahead is not None else self._records(events)
        publisher = self._publisher
        assert publisher is not None
        mark = Mark(window.number, window.identity, self._routes.ids)
        self._under_way = UnderWay(window, len(events), self._begin(publisher.publish, records, mark))

    def read_ahead(self, session: Session) -> None:
        """While Kafka takes a window, read the next part of its span: recorded it is only afterwards (S6)."""
        window = self._under_way.window if self._under_way else None
        if window is None or window is not self._newest or window.ends_span or self._ahead is not None:
            return
        if self._span_end == spans.POSITION_MAX:
            self._span_end = windows.end_of_span(session, window)
        part = windows.read_ahead(session, window, **self._limits(), span_end=self._span_end)
        if not self._routes.missing(part.events):
            self._ahead = Ahead(part, self._routes.records(part.events))

    def finish(self) -> int:
        """Wait until the window under way is published; return its events. None is, when it was forgotten meanwhile.

        Raises:
            ShardStoppedError: it can never be published.
            AbortedError: it was not; recovery comes next, because Kafka may have left something open.
            BrokerAwayError: nobody knows; recovery comes next.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is None:
            return 0
        window = under_way.window
        try:
            under_way.publishing.result()
        except AbortedError:
            self._count(window, "aborted")
            raise
        except TooLargeError as error:
            self._count(window, "refused")
            raise ShardStoppedError(f"an event of window {window.number} can never be published: {error}") from error
        # S6: only now, when Kafka has committed this window, may the next one begin.
        self._next_number = window.number + 1
        self._active_at = self._clock.monotonic()
        self._count(window, "again" if window.number <= self._again_up_to else "published")
        relay_metrics.EVENTS.labels(self.number).inc(under_way.events)
        relay_metrics.WINDOW_EVENTS.observe(under_way.events)
        if self._publisher is not None and self._publisher.worn:
            self.forget()
        return under_way.events

    def forget(self) -> None:
        """Throw everything in memory away, and leave the producer to close: the next one fences it.

        What was read ahead goes too: the window before it did not get through, and comes first.
        """
        publisher, self._publisher, self._recovered = self._publisher, None, False
        self._under_way = self._ahead = None
        if publisher is not None:
            aside.Call(publisher.close)

    def measure(self, session: Session) -> None:
        """Say how much waits, and how old it is: whatever Kafka does, the database knows."""
        done = self._newest if self._recovered and self._newest is not None else None
        if done is None or done.number >= self._next_number:
            done = windows.surely_published(session, self.number)
        count, age_s = windows.after(session, self.number, done, most=relay_metrics.WAITING_MOST)
        relay_metrics.BACKLOG.labels(self.number).set(count)
        relay_metrics.OLDEST.labels(self.number).set(age_s)

    def _recover(self, session: Session) -> None:
        """Find out what was published; in this order, or a stale owner's last window looks like Kafka ahead."""
        leases.renew(session, self.lease, for_s=self._settings.relay_lease_s)
        self._begin(self._ensure_mark_topic).result()
        self._publisher = self._begin(Publisher, self._settings, self.number).result()
        self._begin(self._publisher.fence).result()
        self._end_open(session)
        mark = self._begin(self._read_mark).result()
        self._begin(self._routes.learn, {self._settings.topic, *(mark.topics if mark else ())}).result()
        newest = windows.newest(session, self.number)
        relay_session.check_clock(session, newest)
        decision = self._decide(session, mark, newest)
        # A window that another session recorded: our own commit after reading it makes it durable.
        relay_session.confirm(session)
        self._newest, self._next_number, self._span_end = newest, decision.next_number, spans.POSITION_MAX
        self._again_up_to = newest.number if newest is not None and decision.twice else 0
        self._marked = newest.number if newest is not None and newest.published else 0
        self._recovered = True
        self._tell(decision)

    def _end_open(self, session: Session) -> None:
        found = self._begin(relay_open.find, self._settings, self.number, self._routes.used()).result()
        if found:
            in_doubt = any(one.is_of_marks for one in found)
            mark = None if in_doubt else self._begin(self._read_mark).result()
            is_published = partial(relay_open.is_published, session, self.number, mark)
            self._begin(relay_open.end, self._settings, self.number, found, is_published).result()

    def _ensure_mark_topic(self) -> None:
        with Topics(self._settings) as topics:
            topics.ensure_relay_topic(self._settings.outbox_shards)

    def _read_mark(self) -> Mark | None:
        marks = Marks(self._settings)
        try:
            return marks.read(self.number)
        finally:
            marks.close()

    def _decide(self, session: Session, mark: Mark | None, newest: Window | None) -> Decision:
        def identity_of(number: int) -> UUID | None:
            window = windows.first_from(session, self.number, number)
            return window.identity if window is not None and window.number == number else None

        return decide(
            mark,
            newest,
            self._routes.ids,
            identity_of=identity_of,
            last_published=lambda: windows.last_published(session, self.number),
        )

    def _tell(self, decision: Decision) -> None:
        log = structlog.get_logger().bind(shard=self.number, epoch=self.lease.epoch, next=decision.next_number)
        relay_metrics.RECOVERIES.labels(self.number, "yes" if decision.twice else "no").inc()
        if decision.twice is None:
            log.info("recovered")
            return
        (log.error if decision.loud else log.warning)("recovered_events_may_come_twice", because=decision.twice)

    def _next_window(self, session: Session, ahead: Ahead | None) -> tuple[Window, list[Stored]] | None:
        if self._newest is not None and self._next_number <= self._newest.number:
            return self._recorded(session)
        if self._newest is None or self._newest.ends_span:
            self._span_end = spans.POSITION_MAX
        elif self._span_end == spans.POSITION_MAX:
            self._span_end = windows.end_of_span(session, self._newest)
        found = windows.record_next(
            session,
            self.lease,
            self.number,
            self._newest,
            **self._limits(),
            span_end=self._span_end,
            ahead=ahead.part if ahead is not None else None,
        )
        if found is not None:
            self._newest = found[0]
        return found

    def _recorded(self, session: Session) -> tuple[Window, list[Stored]]:
        window = windows.first_from(session, self.number, self._next_number)
        assert window is not None, "the newest window is never removed"
        if self._next_number not in {1, window.number}:
            structlog.get_logger().error(
                "windows_no_longer_retained", shard=self.number, first=self._next_number, end=window.number
            )
        return window, windows.events_of(session, window)

    def _records(self, events: list[Stored]) -> list[Record]:
        missing = self._routes.missing(events)
        if missing:
            self._begin(self._routes.learn, missing).result()
        return self._routes.records(events)

    def _rest(self, session: Session) -> None:
        idle_s = self._clock.monotonic() - self._active_at
        if self._newest is not None and self._marked < self._newest.number and idle_s > IDLE_S:
            windows.mark_published(session, self._newest)
            self._marked = self._newest.number

    def _limits(self) -> dict[str, int]:
        return {"events_max": self._settings.relay_window_events, "bytes_max": self._settings.relay_window_bytes}

    def _count(self, window: Window, outcome: str) -> None:
        relay_metrics.WINDOWS.labels(window.shard, outcome).inc()
