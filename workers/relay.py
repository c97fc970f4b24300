"""How do events get from the outbox to Kafka? Each shard by the one relay that holds its lease, window by window.

Several relays at once are safe: a shard belongs to whoever holds its lease, and Kafka lets only
the last producer of a shard write (docs/design.md, "Relay").
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any, TypeVar

import psycopg
import structlog
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.errors import LeaseLostError
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.workers import aside, leases, relay_session, runner
from paidonce.workers.aside import LeftBehindError
from paidonce.workers.broker import BrokerAwayError, limit_ms
from paidonce.workers.leases import Session
from paidonce.workers.relay_recovery import ShardStoppedError
from paidonce.workers.relay_session import StandbyError
from paidonce.workers.relay_shard import Shard
from paidonce.workers.relay_wake import Waker

Result = TypeVar("Result")

#: Seconds between looks for shards that nobody owns.
LOOK_S = 0.5
#: Seconds after which a stopped shard is looked at again, and complains again.
STOPPED_S = 30.0
#: Seconds that a stop waits for a call to Kafka: a window under way takes a tenth of it.
STOP_S = 1.0
#: Kafka's own time limits are over by then; whatever call has not returned never will.
LEFT_BEHIND_LIMITS = 3


def main(settings: Settings) -> None:
    """Run a relay until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: shards, partitions or the server are not what they were.
    """
    bind = db.engine(settings)
    process = runner.start("relay", settings, bind)
    waker = Waker(db.libpq_dsn(settings), process.stop)
    relay = Relay(settings, bind, process.stop)
    try:
        runner.run(process, relay.run_once, idle_s=settings.relay_poll_s, idle=waker.wait, is_transient=is_transient)
    finally:
        relay.close()
        waker.close()
        bind.dispose()


def is_transient(error: BaseException) -> bool:
    """Tell whether the relay may go on after `error`, later."""
    return db.is_transient(error) or isinstance(error, BrokerAwayError | LeftBehindError | StandbyError)


class Relay:
    """Owns what shards it can get, and publishes them."""

    def __init__(self, settings: Settings, bind: Engine, stop: Event, clock: Clock | None = None) -> None:
        self._settings = settings
        self._bind = bind
        self._stop = stop
        self._clock = clock or SystemClock()
        self._owner = leases.new_owner()
        self._session: Session | None = None
        self._shards: dict[str, Shard] = {}
        self._count = 0
        self._look_at = self._renew_at = 0.0
        #: lease name -> when a stopped shard is looked at again
        self._stopped: dict[str, float] = {}

    @property
    def shards(self) -> list[int]:
        """The shards that this relay owns."""
        return sorted(shard.number for shard in self._shards.values())

    def run_once(self) -> int:
        """Publish one window of each shard; return how many events that were.

        Raises:
            Exception: the first that a shard raised, after every shard had its turn.
        """
        session = self._open()
        self._take_shards(session)
        count, disturbance = 0, None
        for name in list(self._shards):
            try:
                count += self._pass(session, name)
            except psycopg.Error:
                self._lose_session()
                raise
            except (BrokerAwayError, LeftBehindError) as error:
                disturbance = disturbance or error
        if disturbance is not None:
            raise disturbance
        return count

    def close(self) -> None:
        """Hand every shard over at once."""
        for shard in self._shards.values():
            self._release(shard)
        with ThreadPoolExecutor(len(self._shards) or 1) as together:
            list(together.map(self._discard, self._shards.values()))
        self._shards.clear()
        if self._session is not None:
            self._session.close()

    def _open(self) -> Session:
        if self._session is None or self._session.closed:
            self._lose_session()
            self._session = relay_session.open_session(self._settings, self._bind)
            try:
                self._count = self._shard_count()
            except BaseException:
                self._lose_session()  # or the next pass would take a half-open start for a whole one
                raise
        return self._session

    def _lose_session(self) -> None:
        for shard in self._shards.values():
            self._discard(shard)
        if self._session is not None:
            self._session.close()
        self._session = None

    @step("relay.check_shards")
    def _shard_count(self) -> int:
        with db.begin(self._bind) as tx:
            return relay_session.shards_of(tx, self._settings)

    def _take_shards(self, session: Session) -> None:
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + min(LOOK_S, self._settings.relay_lease_s / 4)
            names = {f"relay-shard-{number}": number for number in range(self._count)}
            for name in sorted(leases.free(session, names.keys() - self._shards.keys())):
                lease = leases.acquire(session, name, self._owner, for_s=self._settings.relay_lease_s)
                if lease is not None:
                    self._shards[name] = self._shard(names[name], lease)
                    structlog.get_logger().info("shard_taken", shard=names[name], epoch=lease.epoch)
        self._renew(session)

    def _shard(self, number: int, lease: leases.Lease) -> Shard:
        return Shard(
            number,
            lease,
            settings=self._settings,
            bind=self._bind,
            clock=self._clock,
            aside=partial(self._aside, lease.name),
        )

    def _renew(self, session: Session) -> None:
        """Renew every lease when it is time; a lost one ends its shard here."""
        now = self._clock.monotonic()
        if now < self._renew_at:
            return
        self._renew_at = now + self._settings.relay_lease_s / 3
        for name, shard in list(self._shards.items()):
            try:
                leases.renew(session, shard.lease, for_s=self._settings.relay_lease_s)
            except LeaseLostError as error:
                self._lose(name, error)

    def _pass(self, session: Session, name: str) -> int:
        shard = self._shards.get(name)
        if shard is None or self._clock.monotonic() < self._stopped.get(name, 0.0):
            return 0
        try:
            return shard.run_once(session)
        except LeaseLostError as error:
            self._lose(name, error)
        except (psycopg.errors.UniqueViolation, psycopg.errors.LockNotAvailable) as error:
            structlog.get_logger().warning("window_of_a_stale_owner", shard=shard.number, found=type(error).__name__)
            self._discard(shard)
        except ShardStoppedError as error:
            structlog.get_logger().error("shard_stopped", shard=shard.number, error=str(error))
            self._stopped[name] = self._clock.monotonic() + STOPPED_S
            self._discard(shard)
        except (BrokerAwayError, LeftBehindError) as error:
            if not shard.survives(error):
                self._discard(shard)
            raise
        return 0

    def _lose(self, name: str, error: LeaseLostError) -> None:
        shard = self._shards.pop(name, None)
        if shard is not None:
            structlog.get_logger().warning("shard_lost", error=str(error))
            self._discard(shard)

    def _discard(self, shard: Shard) -> None:
        try:
            aside.call(shard.forget, limit_s=STOP_S, meanwhile=lambda: None, stop=self._stop, stop_s=STOP_S)
        except (BrokerAwayError, LeftBehindError) as error:
            structlog.get_logger().debug("producer_left_behind", shard=shard.number, error=repr(error))

    def _release(self, shard: Shard) -> None:
        if self._session is None:
            return
        try:
            leases.release(self._session, shard.lease)
        except psycopg.Error as error:
            structlog.get_logger().debug("lease_left_to_expire", shard=shard.number, error=repr(error))

    def _aside(self, name: str | None, function: Callable[..., Result], *arguments: Any) -> Result:
        session = self._session
        assert session is not None

        def keep() -> None:
            self._renew(session)
            if name is not None and name not in self._shards:
                raise LeaseLostError(f"the lease {name} was lost meanwhile")

        return aside.call(
            function,
            *arguments,
            limit_s=LEFT_BEHIND_LIMITS * limit_ms(self._settings) / 1000,
            meanwhile=keep,
            stop=self._stop,
            stop_s=STOP_S,
        )
