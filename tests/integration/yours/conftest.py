"""What teams have of their own, on real servers: a relay, consumers of their handlers, a table for their work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event
from time import monotonic
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from paidonce.app import db
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.settings import Settings
from paidonce.workers.consumer_member import Member, is_transient
from paidonce.workers.relay_shards import Relay

#: Seconds after which a test gives up waiting.
BOUND_S = 60.0


@dataclass
class Shop:
    """One installation with a table `reserved`, whose events are about `about`."""

    settings: Settings
    bind: Engine
    relay: Relay
    #: no other test's topic is called so
    about: str = field(default_factory=lambda: f"order-{uuid4().hex[:8]}")
    members: list[Member] = field(default_factory=list)
    disturbed: list[str] = field(default_factory=list)

    def member(self, subscriber: Subscriber, **changed: object) -> Member:
        self.members.append(Member(self.settings.model_copy(update=changed), self.bind, subscriber))
        return self.members[-1]

    def until(self, is_so: Callable[[], bool]) -> None:
        """Let the relay and every member do passes until it is so; a disturbance is tried again, as the runner does."""
        deadline = monotonic() + BOUND_S
        while not is_so():
            assert monotonic() < deadline, f"not within {BOUND_S} s; disturbed by {self.disturbed[-5:]}"
            for one in (self.relay, *self.members):
                try:
                    one.run_once()
                except Exception as error:
                    if not is_transient(error):
                        raise
                    self.disturbed.append(repr(error))

    def rows(self, statement: str) -> list[tuple]:
        with self.bind.connect() as tx:
            return [tuple(row) for row in tx.execute(text(statement))]

    def column(self, statement: str) -> list:
        return [row[0] for row in self.rows(statement)]


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    bind = db.engine(settings, lock_timeout_ms=settings.consumer_lock_timeout_ms)
    with bind.begin() as tx:
        tx.execute(text("CREATE SCHEMA shop"))
        tx.execute(text("CREATE TABLE shop.reserved (position bigserial, id text NOT NULL, item text)"))
    relay = Relay(settings, bind, Event())
    made = Shop(settings, bind, relay)
    yield made
    for one in made.members:
        one.close()
    relay.close()
    bind.dispose()
