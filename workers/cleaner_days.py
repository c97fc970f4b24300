"""How do the days of outbox and inbox come and go? Made ahead, dropped whole once nobody needs them.

A day over its time that somebody still needs stays, and the log and a metric say for whom, in
every round (docs/design.md, "Retention").
"""

from collections import Counter as Tally
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import partial

import psycopg
import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import Clock
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import inbox, partitions, readers
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.holds import ONE_DAY, Hold, Holds
from paidonce.workers.leases import Session
from paidonce.workers.readings import by_topic, topics_read

#: Every `Hold.why`: a reason that is gone falls to zero.
REASONS = ("clock", "transaction", "relay", "cdc", "consumer", "broker", "arrivals", "outbox", "topic", "comes_back")
#: Why a day stays; None: it may go.
HoldOf = Callable[[date], Hold | None]

TABLES: tuple[partitions.Partitioned, ...] = ("outbox", "inbox")

KEPT_BACK = Gauge(
    "paidonce_partitions_kept_back", "Days over their retention that somebody still needs.", ["table", "why"]
)
END = Gauge(
    "paidonce_partitions_end_timestamp_seconds",
    "Unix time at which the last day ends that is there without a gap from today on: rows after it would be refused.",
    ["table"],
)
OLDEST = Gauge("paidonce_partition_oldest_age_seconds", "Age of the oldest day that is there.", ["table"])
DROPPED = Counter("paidonce_partitions_dropped_total", "Days dropped.", ["table"])

_log = structlog.get_logger()


class Days:
    """The days of both tables; one cleaner at a time works on them."""

    def __init__(self, settings: Settings, bind: Engine, clock: Clock) -> None:
        self._settings = settings
        self._bind = bind
        self._clock = clock
        #: the tables of which the log has said that Kafka is away
        self._away: set[str] = set()

    def run_once(self, session: Session, keep: Callable[[], object]) -> int:
        """Make the days that are missing, drop those that nobody needs; return how many were dropped.

        A day may take a while to judge: `keep` is called before each, and renews the lease.
        """
        settings = self._settings
        with self._bind.connect() as tx:
            now = partitions.now(tx)
        today = now.date()
        partitions.ensure(self._bind, today, ahead_d=settings.partitions_ahead_d, behind_d=settings.inbox_retention_d)
        self._note_readers()
        holds = Holds(settings, self._bind, now=now, clock=self._clock)
        # One day more: the last moment of a day is as old as the retention only a day after its first.
        outbox_last = today - timedelta(days=settings.outbox_retention_d + 1)
        inbox_last = today - timedelta(days=settings.inbox_retention_d + 1)
        dropped = self._retire(session, "outbox", outbox_last, partial(holds.of_outbox, session), keep)
        dropped += self._retire(session, "inbox", inbox_last, holds.of_inbox, keep)
        self._measure(now)
        return dropped

    @step("cleaner.note_readers")
    def _note_readers(self) -> None:
        """Count on every consumer that has ever held a partition."""
        with db.begin(self._bind) as tx:
            for topic, consumers in by_topic(topics_read(tx, self._settings)).items():
                readers.note(tx, topic, consumers)

    def _retire(
        self,
        session: Session,
        table: partitions.Partitioned,
        last: date,
        hold_of: HoldOf,
        keep: Callable[[], object],
    ) -> int:
        """Detach and drop the days up to `last` that nobody needs; return how many were dropped."""
        kept: dict[date, Hold] = {}
        dropped, away = 0, None
        try:
            self._finish(session, table)
            for day in self._over(table, last):
                keep()
                # Kafka that did not answer for one day is not waited for again with each of the others.
                hold = away or _asked(hold_of, day)
                if hold is None:
                    partitions.detach(session, table, day, pending=False)
                    continue
                kept[day] = hold
                away = hold if hold.why == "broker" else None
            dropped = self._drop(session, table, last)
        except psycopg.errors.LockNotAvailable:
            _log.info("partition_in_use", table=table)
        self._tell(table, kept)
        return dropped

    def _finish(self, session: Session, table: partitions.Partitioned) -> None:
        """End the detachment that timed out in an earlier round: no other can begin before."""
        with self._bind.connect() as tx:
            pending = [day for day, is_pending in partitions.attached(tx, table).items() if is_pending]
        for day in pending:
            partitions.detach(session, table, day, pending=True)

    def _over(self, table: partitions.Partitioned, last: date) -> list[date]:
        with self._bind.connect() as tx:
            return [day for day in partitions.attached(tx, table) if day <= last]

    def _drop(self, session: Session, table: partitions.Partitioned, last: date) -> int:
        with self._bind.connect() as tx:
            days = [day for day in partitions.loose(tx, table) if day <= last]
        for day in days:
            self._note_drop(table, day)
            partitions.drop(session, table, day)
            DROPPED.labels(table).inc()
            _log.info("partition_dropped", table=table, day=day.isoformat())
        return len(days)

    @step("cleaner.note_drop")
    def _note_drop(self, table: partitions.Partitioned, day: date) -> None:
        """Write down what must outlive the partition of `day`."""
        with db.begin(self._bind) as tx:
            if table == "outbox":
                partitions.note_gone(tx, day)
                return
            since = partitions.now(tx) - timedelta(days=self._settings.inbox_retention_d)
            inbox.keep_young(tx, partitions.name_of(table, day), since)
            partitions.forget_gone(tx, day - ONE_DAY)

    def _tell(self, table: partitions.Partitioned, kept: Mapping[date, Hold]) -> None:
        """Say once a round for each reason what stays, and that Kafka is away once until it is back."""
        reasons = Tally(hold.why for hold in kept.values())
        for why in REASONS:
            KEPT_BACK.labels(table, why).set(reasons[why])
        for why, count in reasons.items():
            oldest = min(day for day, hold in kept.items() if hold.why == why)
            if why == "broker" and table in self._away:
                continue
            log = _log.warning if kept[oldest].said else _log.info
            log(
                "partitions_kept_back",
                table=table,
                days=count,
                oldest=oldest.isoformat(),
                why=why,
                because=kept[oldest].said,
            )
        (self._away.add if reasons["broker"] else self._away.discard)(table)

    def forget(self) -> None:
        """Say nothing more of the days: the cleaner that is at work now does."""
        for gauge in (KEPT_BACK, END, OLDEST):
            gauge.clear()

    def _measure(self, now: datetime) -> None:
        with self._bind.connect() as tx:
            for table in TABLES:
                attached = partitions.attached(tx, table)
                END.labels(table).set(_end(attached, now.date()).timestamp())
                days = [*partitions.loose(tx, table), *attached]
                OLDEST.labels(table).set((now - partitions.midnight(min(days))).total_seconds() if days else 0)


def _end(days: Mapping[date, bool], today: date) -> datetime:
    """Return when the last of `days` ends that follows today without a gap; this midnight without today's."""
    day = today
    while day in days and not days[day]:
        day += ONE_DAY
    return partitions.midnight(day)


def _asked(hold_of: HoldOf, day: date) -> Hold | None:
    try:
        return hold_of(day)
    except (BrokerAwayError, ConfigurationError) as error:
        return Hold("broker", f"Kafka does not say who needs it: {error}")
