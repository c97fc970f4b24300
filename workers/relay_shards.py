"""How do events get from the outbox to Kafka? Each shard by the one relay that holds its lease, window by window.

Several relays at once are safe: a shard belongs to whoever holds its lease, and Kafka lets only
the last producer of a shard write (docs/design.md, "Relay").
"""

from collections.abc import Callable, Iterable
from functools import partial
from threading import Event
from typing import Any, TypeVar

import psycopg
import structlog
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.errors import LeaseLostError
from paidonce.app.messaging.hint import OUTBOX
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers import aside, leases, relay_metrics, relay_session
from paidonce.workers.aside import LeftBehindError
from paidonce.workers.broker import BrokerAwayError, limit_ms
from paidonce.workers.leases import Lease, Session
from paidonce.workers.relay_members import Member
from paidonce.workers.relay_recovery import ShardStoppedError
from paidonce.workers.relay_shard import Begun, Shard

Result = TypeVar("Result")

#: Seconds between looks at the other relays: one that came has its share within some of them.
LOOK_S = 0.25
#: The same while shards are due to us: whoever gives one up is about to.
LOOK_SOON_S = 0.05
#: Seconds between looks at leases and limits while windows are under way; one that is over ends the wait at once.
OVER_S = 0.05
#: Seconds between looks at what waits: Prometheus asks less often.
MEASURE_S = 5.0
#: Seconds after which a stopped shard is looked at again, and complains again.
STOPPED_S = 30.0
#: Seconds that a stop waits for Kafka, in all: a window under way takes a fifth of it.
STOP_S = 0.5
#: Kafka's own time limits are over by then; whatever call has not returned never will.
LEFT_BEHIND_LIMITS = 3


class Relay:
    """Owns its share of the shards, and publishes them."""

    def __init__(self, settings: Settings, bind: Engine, stop: Event, clock: Clock | None = None) -> None:
        self._settings = settings
        self._bind = bind
        self._stop = stop
        self._clock = clock or SystemClock()
        self._member = Member(for_s=settings.relay_lease_s)
        self._session: Session | None = None
        #: by the name of the lease
        self._shards: dict[str, Shard] = {}
        self._names: dict[str, int] = {}
        self._look_at = self._renew_at = self._measure_at = 0.0
        #: when a stop's patience with Kafka ends
        self._stop_at: float | None = None
        #: lease name -> when a stopped shard is looked at again
        self._stopped: dict[str, float] = {}
        #: set when a call of a shard's is over
        self._over = Event()

    @property
    def shards(self) -> list[int]:
        """The shards that this relay owns."""
        return sorted(shard.number for shard in self._shards.values())

    @property
    def patience_s(self) -> float:
        """Seconds after which an idle relay is to look around again."""
        return max(0.0, self._look_at - self._clock.monotonic())

    def run_once(self) -> int:
        """Publish at least one window, if any shard has one; return how many events that were.

        Windows of other shards may still be under way; the next call, or `close`, ends them.

        Raises:
            Exception: the first that a shard raised, after every shard had its turn.
        """
        session = self._open()
        try:
            self._keep(session)
            self._balance(session)
            return self._pass(session)
        except psycopg.Error:
            self._lose_session()
            raise

    def close(self) -> None:
        """Hand every shard over at once."""
        if self._session is not None:
            try:
                self._finish_all()
                self._hand_over(self._session)
            except psycopg.Error as error:
                structlog.get_logger().debug("leases_left_to_expire", error=repr(error))
        self._lose_session()
        for name in list(self._shards):
            self._drop(name, "released")

    def _open(self) -> Session:
        if self._session is None or self._session.closed:
            self._lose_session()
            self._session = relay_session.open_session(self._settings, self._bind)
            try:
                self._names = {f"relay-shard-{number}": number for number in range(self._shard_count())}
            except BaseException:
                self._lose_session()  # or the next pass would take a half-open start for a whole one
                raise
        return self._session

    def _lose_session(self) -> None:
        for shard in self._shards.values():
            shard.forget()
        if self._session is not None:
            self._session.close()
        self._session = None

    @step("relay.check_shards")
    def _shard_count(self) -> int:
        with db.begin(self._bind) as tx:
            count = relay_session.shards_of(tx, self._settings)
        relay_metrics.know(count)
        return count

    def _balance(self, session: Session) -> None:
        """Take free shards up to a fair share, and give up what is above it: between windows, never in one."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._stopped = {name: until for name, until in self._stopped.items() if now < until}
        share, free = self._member.look(session, self._names)
        free -= self._stopped.keys()
        for name in sorted(self._shards)[share:]:
            self._give_up(session, name)
        for name in sorted(free - self._shards.keys())[: share - len(self._shards)]:
            lease = leases.acquire(session, name, self._member.owner, for_s=self._settings.relay_lease_s)
            if lease is not None:
                self._take(lease)
        look_s = LOOK_S if len(self._shards) + len(self._stopped) >= share else LOOK_SOON_S
        self._look_at = now + min(look_s, self._settings.relay_lease_s / 4)

    def _take(self, lease: Lease) -> None:
        number = self._names[lease.name]
        self._shards[lease.name] = Shard(
            number,
            lease,
            settings=self._settings,
            bind=self._bind,
            clock=self._clock,
            begin=partial(self._begin, lease.name),
        )
        self._count("acquired")
        structlog.get_logger().info("shard_taken", shard=number, epoch=lease.epoch)

    def _finish_all(self) -> None:
        """End what is under way before a stop; a window that Kafka does not take in time is the next owner's."""
        disturbances: list[Exception] = []
        for shard in list(self._shards.values()):
            self._guard(shard, shard.finish, disturbances)
        if disturbances:
            structlog.get_logger().debug("windows_left_behind", errors=repr(disturbances))

    def _give_up(self, session: Session, name: str) -> None:
        shard = self._shards[name]
        self._guard(shard, shard.finish, [])  # what fails is the next owner's to find out
        if name not in self._shards:
            return
        self._release(session, [shard])
        self._drop(name, "released")
        structlog.get_logger().info("shard_given_up", shard=shard.number, epoch=shard.lease.epoch)

    def _drop(self, name: str, change: str) -> None:
        shard = self._shards.pop(name)
        shard.forget()
        relay_metrics.forget(shard.number)
        self._count(change)

    def _count(self, change: str) -> None:
        relay_metrics.LEASES.labels(change).inc()
        relay_metrics.OWNED.set(len(self._shards))

    def _hand_over(self, session: Session) -> None:
        self._member.leave(session)
        self._release(session, self._shards.values())

    @step("relay.release")
    def _release(self, session: Session, shards: Iterable[Shard]) -> None:
        for shard in shards:
            leases.release(session, shard.lease)
        # Whoever is to have them looks at once, instead of after its poll.
        session.execute(f"NOTIFY {OUTBOX}".encode())

    def _keep(self, session: Session) -> None:
        """Renew every lease, and measure, when it is time; a lost lease ends its shard here."""
        now = self._clock.monotonic()
        if now >= self._renew_at:
            self._renew_at = now + self._settings.relay_lease_s / 3
            self._member.renew(session)
            for name, shard in list(self._shards.items()):
                try:
                    leases.renew(session, shard.lease, for_s=self._settings.relay_lease_s)
                except LeaseLostError as error:
                    self._lose(name, error)
        if now >= self._measure_at:
            self._measure_at = now + MEASURE_S
            for shard in self._shards.values():
                shard.measure(session)

    def _pass(self, session: Session) -> int:
        disturbances: list[Exception] = []
        # Kafka works on every shard's window at the same time, and none waits for another's.
        for shard in list(self._shards.values()):
            if not shard.is_publishing:
                self._guard(shard, partial(shard.begin, session), disturbances)
        publishing = [shard for shard in self._shards.values() if shard.is_publishing]
        for shard in publishing:
            self._guard(shard, partial(shard.read_ahead, session), disturbances)
        count = self._finish(session, publishing, disturbances)
        if disturbances:
            raise disturbances[0]
        return count

    def _finish(self, session: Session, publishing: list[Shard], disturbances: list[Exception]) -> int:
        """Wait until the first of them is over, and end whatever is; return how many events that were."""
        self._over.clear()
        while publishing and not self._stop.is_set() and not any(shard.is_over for shard in publishing):
            self._over.wait(OVER_S)
            self._over.clear()
            self._keep(session)
        # A stop waits for all of them, as long as its patience lasts.
        ended = [shard for shard in publishing if shard.is_over] or publishing
        return sum(self._guard(shard, shard.finish, disturbances) or 0 for shard in ended)

    def _guard(self, shard: Shard, work: Callable[[], Result], disturbances: list[Exception]) -> Result | None:
        """Return what `work` returns; None when the shard is ours no more, or stands still, or was disturbed."""
        name = shard.lease.name
        if self._shards.get(name) is not shard:
            return None
        try:
            return work()
        except LeaseLostError as error:
            self._lose(name, error)
        except (psycopg.errors.UniqueViolation, psycopg.errors.LockNotAvailable) as error:
            structlog.get_logger().warning("window_of_a_stale_owner", shard=shard.number, found=type(error).__name__)
            shard.forget()
        except ShardStoppedError as error:
            structlog.get_logger().error("shard_stopped", shard=shard.number, error=str(error))
            relay_metrics.STOPS.labels(shard.number).inc()
            self._stand_still(name)
        except (BrokerAwayError, LeftBehindError) as error:
            shard.forget()
            disturbances.append(error)
        return None

    def _stand_still(self, name: str) -> None:
        """Leave a stopped shard, whose lease a repair needs, to itself for a while."""
        if self._session is not None:
            self._release(self._session, [self._shards[name]])
        self._drop(name, "released")
        self._stopped[name] = self._clock.monotonic() + STOPPED_S

    def _lose(self, name: str, error: LeaseLostError) -> None:
        if name in self._shards:
            structlog.get_logger().warning("shard_lost", error=str(error))
            self._drop(name, "lost")

    def _begin(self, name: str, function: Callable[..., Result], *arguments: Any) -> Begun[Result]:
        """Begin a call of a shard's; who waits for its result keeps the leases meanwhile."""
        session, call = self._session, aside.Call(function, *arguments, over=self._over)
        assert session is not None

        def meanwhile() -> None:
            self._keep(session)
            if name not in self._shards:
                raise LeaseLostError(f"the lease {name} was lost meanwhile")
            self._check_stop()

        limit_s = LEFT_BEHIND_LIMITS * limit_ms(self._settings) / 1000
        return Begun(partial(call.is_over, limit_s=limit_s), partial(call.result, limit_s=limit_s, meanwhile=meanwhile))

    def _check_stop(self) -> None:
        if not self._stop.is_set():
            return
        now = self._clock.monotonic()
        self._stop_at = self._stop_at or now + STOP_S
        if now > self._stop_at:
            raise LeftBehindError("Kafka did not answer in time for the stop")
