"""How does one shard get published? Recover, then window after window, until somebody else owns it.

What is in memory here is only a copy: after every start, every new database session, and every
failure at or after a commit that began, it is thrown away and asked for anew (docs/design.md, "Relay").
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Engine

from paidonce.app.clock import Clock
from paidonce.app.settings import Settings
from paidonce.workers import leases, relay_session, windows
from paidonce.workers.broker_admin import Topics
from paidonce.workers.broker_marks import Mark, Marks
from paidonce.workers.broker_producer import AbortedError, Publisher, TooLargeError
from paidonce.workers.leases import Lease, Session
from paidonce.workers.relay_recovery import Decision, ShardStoppedError, decide
from paidonce.workers.relay_topics import Routes
from paidonce.workers.windows import Stored, Window

Result = TypeVar("Result")

#: A shard without a new event for so long counts as idle, and says in the database what was published.
IDLE_S = 1.0

#: Aborts in a row after which memory is not trusted either: the topic may be gone.
ABORTS_MOST = 3

PUBLISHED = Counter("paidonce_relay_events_total", "Events published.", ["shard"])
AGAIN = Counter("paidonce_relay_recoveries_twice_total", "Recoveries after which events may come twice.", ["shard"])


class Aside(Protocol):
    """Calls a function where it can be left behind, and keeps every lease meanwhile."""

    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what the function returns."""


class Shard:
    """One shard that this process owns."""

    def __init__(
        self, number: int, lease: Lease, *, settings: Settings, bind: Engine, clock: Clock, aside: Aside
    ) -> None:
        self.number = number
        self.lease = lease
        self._settings = settings
        # Its own: ids that another shard learns after a topic was recreated say nothing of what is in it of ours.
        self._routes = Routes(settings, bind)
        self._clock = clock
        self._aside = aside
        self._recovered = False
        self._publisher: Publisher | None = None
        self._aborts = 0
        self._newest: Window | None = None
        self._next_number = 1
        self._span_end = windows.POSITION_MAX
        self._active_at = clock.monotonic()
        self._marked = 0

    def run_once(self, session: Session) -> int:
        """Publish the next window; return its events.

        Raises:
            LeaseLostError: another relay owns the shard.
            ShardStoppedError: an operator must look.
            AbortedError: not published; the same window comes next.
            BrokerAwayError, psycopg.Error: nobody knows; recovery comes next.
        """
        if not self._recovered:
            self._recover(session)
        found = self._next_window(session)
        if found is None:
            self._rest(session)
            return 0
        self._publish(*found)
        return len(found[1])

    def survives(self, error: BaseException) -> bool:
        """Tell whether what is in memory is still true after `error`."""
        return isinstance(error, AbortedError) and self._aborts < ABORTS_MOST

    def forget(self) -> None:
        """Throw everything in memory away, and close the producer: the next one fences it."""
        publisher, self._publisher, self._recovered = self._publisher, None, False
        if publisher is not None:
            publisher.close()

    def _recover(self, session: Session) -> None:
        """Find out what was published; in this order, or a stale owner's last window looks like Kafka ahead."""
        leases.renew(session, self.lease, for_s=self._settings.relay_lease_s)
        self._aside(self._ensure_mark_topic)
        self._publisher = self._aside(Publisher, self._settings, self.number)
        self._aside(self._publisher.fence)
        mark = self._aside(self._read_mark)
        self._aside(self._routes.learn, {self._settings.topic, *(mark.topics if mark else ())})
        newest = windows.newest(session, self.number)
        relay_session.check_clock(session, newest)
        decision = self._decide(session, mark, newest)
        # A window that another session recorded: our own commit after reading it makes it durable.
        relay_session.confirm(session)
        self._newest, self._next_number, self._span_end = newest, decision.next_number, windows.POSITION_MAX
        self._marked = newest.number if newest is not None and newest.published else 0
        self._recovered, self._aborts = True, 0
        self._tell(decision)

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
        if decision.twice is None:
            log.info("recovered")
            return
        AGAIN.labels(self.number).inc()
        (log.error if decision.loud else log.warning)("recovered_events_may_come_twice", because=decision.twice)

    def _next_window(self, session: Session) -> tuple[Window, list[Stored]] | None:
        if self._newest is not None and self._next_number <= self._newest.number:
            return self._recorded(session)
        if self._newest is None or self._newest.ends_span:
            self._span_end = windows.POSITION_MAX
        elif self._span_end == windows.POSITION_MAX:
            self._span_end = windows.end_of_span(session, self._newest)
        found = windows.record_next(
            session,
            self.lease,
            self.number,
            self._newest,
            events_max=self._settings.relay_window_events,
            span_end=self._span_end,
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

    def _publish(self, window: Window, events: list[Stored]) -> None:
        publisher = self._publisher
        assert publisher is not None
        missing = self._routes.missing(events)
        if missing:
            self._aside(self._routes.learn, missing)
        records = [self._routes.record(stored) for stored in events]
        try:
            self._aside(publisher.publish, records, Mark(window.number, window.identity, self._routes.ids))
        except AbortedError:
            self._aborts += 1
            raise
        except TooLargeError as error:
            raise ShardStoppedError(f"an event of window {window.number} can never be published: {error}") from error
        # S6: only now, when Kafka has committed this window, may the next one begin.
        self._next_number = window.number + 1
        self._aborts = 0
        self._active_at = self._clock.monotonic()
        PUBLISHED.labels(self.number).inc(len(events))
        if publisher.worn:
            self.forget()

    def _rest(self, session: Session) -> None:
        idle_s = self._clock.monotonic() - self._active_at
        if self._newest is not None and self._marked < self._newest.number and idle_s > IDLE_S:
            windows.mark_published(session, self._newest)
            self._marked = self._newest.number
