"""Shards are shared out fairly among the relays that live, and nobody takes from anybody: who has too many gives."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from threading import Event
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.settings import Settings
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.relay_members import PREFIX, Member
from paidonce.workers.relay_shards import Relay

PASSES_MOST = 200


class Leaping:
    """A clock by which every look is due at every pass."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        self._seconds += 1.0
        return self._seconds


@pytest.fixture
def bind(settings: Settings) -> Iterator[Engine]:
    engine = db.engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def relay(settings: Settings, bind: Engine) -> Iterator[Callable[[], Relay]]:
    made: list[Relay] = []
    lasting = settings.model_copy(update={"relay_lease_s": 600.0})

    def make() -> Relay:
        made.append(Relay(lasting, bind, Event(), Leaping()))
        return made[-1]

    yield make
    for one in made:
        one.close()


def turns(*relays: Relay, rounds: int = 3) -> int:
    """Let the relays pass in turns; return the events that they published."""
    count = 0
    for _ in range(rounds):
        for one in relays:
            try:
                count += one.run_once()
            except BrokerAwayError:
                continue
    return count


def test_two_relays_share_and_neither_takes_back(relay: Callable[[], Relay], fleet: Any) -> None:
    first, second = relay(), relay()
    fleet.write()
    turns(first, rounds=20)  # a broker that has just started may abort a window, which then comes again
    assert first.shards == [0, 1]
    turns(second, first, second)
    assert (first.shards, second.shards) == ([0], [1])
    settled = fleet.epochs()
    for _ in range(5):
        fleet.write()
        turns(first, second)
    assert (first.shards, second.shards) == ([0], [1])
    assert fleet.epochs() == settled, "nothing changed hands again"
    fleet.check_exactly_once()


def test_a_third_relay_stands_by_until_one_leaves(relay: Callable[[], Relay], fleet: Any) -> None:
    first, second, third = relay(), relay(), relay()
    turns(first, second, third)
    assert (first.shards, second.shards, third.shards) == ([0], [1], [])
    fleet.write()
    turns(first, second, third)
    first.close()
    assert len(fleet.owned()) == 1
    fleet.write()
    turns(second, third)
    assert (second.shards, third.shards) == ([1], [0])
    fleet.check_exactly_once()


def test_a_relay_above_its_share_gives_up_between_windows(
    relay: Callable[[], Relay], settings: Settings, bind: Engine, fleet: Any
) -> None:
    """With a window under way for each shard, and more behind it."""
    small = settings.model_copy(update={"relay_lease_s": 600.0, "relay_window_events": 2})
    first, second = Relay(small, bind, Event(), Leaping()), Relay(small, bind, Event(), Leaping())
    for _ in range(4):
        fleet.write()
    for _ in range(PASSES_MOST):
        if not turns(first, second, rounds=1):
            break
    assert (first.shards, second.shards) == ([0], [1])
    fleet.check_exactly_once()
    first.close()
    second.close()


def test_those_who_are_gone_are_forgotten(tables: psycopg.Connection[Any]) -> None:
    living, dead = Member(for_s=60), Member(for_s=60)
    living.renew(tables)
    dead.renew(tables)
    names = ["a", "b", "c"]
    assert living.look(tables, names) == (2, set(names))
    assert dead.look(tables, names) == (1, set(names))
    tables.execute("UPDATE leases SET expires_at = now() - interval '1 second' WHERE owner = %s", (dead.owner,))
    assert living.look(tables, names)[0] == 3
    living.renew(tables)
    [(name,)] = tables.execute("SELECT name FROM leases").fetchall()
    assert name == PREFIX + living.owner


def test_who_was_forgotten_comes_back_as_the_youngest(tables: psycopg.Connection[Any]) -> None:
    sleeper, other = Member(for_s=60), Member(for_s=60)
    sleeper.renew(tables)
    other.renew(tables)
    before = sleeper.owner
    assert (sleeper.look(tables, ["a"])[0], other.look(tables, ["a"])[0]) == (1, 0)
    tables.execute("UPDATE leases SET expires_at = now() - interval '1 second' WHERE owner = %s", (sleeper.owner,))
    other.renew(tables)
    sleeper.renew(tables)
    assert sleeper.owner != before
    assert (sleeper.look(tables, ["a"])[0], other.look(tables, ["a"])[0]) == (0, 1)
    sleeper.leave(tables)
    other.leave(tables)
    assert tables.execute("SELECT count(*) FROM leases").fetchone() == (0,)
