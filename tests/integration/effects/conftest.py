"""The effects worker's surroundings: a kind whose other side is the test, and a database that time can be moved in."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import Connection, text

from paidonce.app import db
from paidonce.app.breaker import Breaker
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.messaging import effects
from paidonce.app.messaging.answers import Answer, Finding
from paidonce.app.messaging.effect_kinds import Definite, Effect
from paidonce.app.settings import Settings
from paidonce.devstack.postgres import Postgres
from paidonce.workers.effect_lane import Lane


@dataclass
class Charges:
    """A kind whose other side is the test: it says what to answer and keeps what it was asked."""

    #: the same answer each time, or who gives it
    answer: Answer | Callable[[Effect], Awaitable[Answer]]
    finding: Finding | None = None
    name: str = "charge"
    circuit: str | None = "provider"
    call_s: float = 1.0
    honours_keys_for: timedelta = timedelta(hours=24)
    settles_within: timedelta | None = timedelta(seconds=60)
    repeats_for: timedelta | None = None
    #: subject and bytes of each call
    calls: list[tuple[str, bytes]] = field(default_factory=list)
    look_ups: list[str] = field(default_factory=list)
    settled: list[Definite] = field(default_factory=list)
    before_settling: Callable[[Connection], object] = lambda _tx: None

    async def call(self, effect: Effect) -> Answer:
        self.calls.append((effect.subject, effect.request))
        return await self.answer(effect) if callable(self.answer) else self.answer

    async def look_up(self, effect: Effect) -> Finding | None:
        self.look_ups.append(effect.subject)
        return self.finding

    def settle(self, tx: Connection, effect: Effect, answer: Definite) -> None:
        self.before_settling(tx)
        tx.execute(text("INSERT INTO settled VALUES (:subject)"), {"subject": effect.subject})
        self.settled.append(answer)


@dataclass
class World:
    """One database with effects."""

    settings: Settings

    def create(self, *subjects: str, kind: str = "charge") -> None:
        bind = db.engine(self.settings)
        with db.begin(bind) as tx:
            for subject in subjects:
                effects.create(tx, kind=kind, subject=subject, tenant="acme", request=f"pay {subject}".encode())
        bind.dispose()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.dsn.get_secret_value()) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def states(self) -> Counter[str]:
        return Counter(dict(self.rows("SELECT state, count(*) FROM effects GROUP BY state")))

    @property
    def settlements(self) -> int:
        return len(self.rows("TABLE settled"))

    def make_due(self) -> None:
        """As if the back-off and the lease were over."""
        self.rows("UPDATE effects SET next_attempt_at = now() - interval '1 s' WHERE next_attempt_at IS NOT NULL")

    @asynccontextmanager
    async def lane(
        self, kind: Charges, *, clock: Clock | None = None, breaker: Breaker | None = None, **changed: Any
    ) -> AsyncIterator[Lane]:
        bind = db.async_engine(self.settings, size=8)
        settings = self.settings.model_copy(update=changed)
        try:
            yield Lane(kind, breaker=breaker, bind=bind, settings=settings, clock=clock or SystemClock())
        finally:
            await bind.dispose()


def settings(dsn: str) -> Settings:
    return Settings(dsn=dsn, effect_lease_s=3.0, effect_retry_first_s=0.01, effect_poll_s=0.02)


@pytest.fixture
def charges() -> type[Charges]:
    return Charges


@pytest.fixture(scope="session")
def effects_database(postgres: Postgres, template: str) -> Iterator[str]:
    """One database for all tests of this folder: copying the template for each costs more than the tests."""
    name = "paidonce_effects"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        dsn = urlsplit(postgres.dsn)._replace(path=f"/{name}").geturl()
        with psycopg.connect(dsn) as tables:
            tables.execute("CREATE TABLE settled (subject text)")
            tables.execute("CREATE TABLE calls (at_pid int, subject text, request bytea)")
            tables.execute("CREATE TABLE hang (row int)")
        yield dsn
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def database(effects_database: str) -> str:
    """The DSN of that database, without a row of this folder's tables."""
    with psycopg.connect(effects_database) as connection:
        connection.execute("TRUNCATE effects, effect_history, dead_letters, settled, calls, hang")
    return effects_database


@pytest.fixture
def world(database: str) -> World:
    return World(settings(database))
