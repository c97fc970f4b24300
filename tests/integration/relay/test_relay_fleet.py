"""Several relay processes: one comes, one goes, one dies, one sleeps too long. Each event once, whatever happens."""

import signal
from collections.abc import Callable
from typing import Any

import pytest


def test_one_comes_and_one_goes(lasting: Any) -> None:
    """With leases that never expire: what the newcomer gets was given up, what the other gets was handed over."""
    first = lasting.start()
    lasting.until(lambda: lasting.share_of(first) == 2)
    second = lasting.start()
    lasting.until(lambda: (lasting.write(), lasting.share_of(second))[1] == 1)
    lasting.until(lambda: lasting.share_of(first) == 1)
    lasting.until_published()
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    assert lasting.members() == 1
    lasting.write()
    lasting.until(lambda: lasting.share_of(second) == 2)
    lasting.until_published()
    lasting.check_exactly_once()
    assert [len(one.logged("shard_given_up")) for one in (first, second)] == [1, 0]
    assert not second.logged("recovered_events_may_come_twice")


@pytest.mark.slow
def test_one_dies_and_the_other_has_its_shard_within_the_lease(fleet: Any) -> None:
    first, second = fleet.start(), fleet.start()
    fleet.until(lambda: fleet.shares() == [1, 1])
    for _ in range(5):
        fleet.write()
    first.kill()
    fleet.write()
    fleet.until(lambda: fleet.share_of(second) == 2)
    fleet.until_published()
    fleet.until(lambda: fleet.members() == 1)
    fleet.check_exactly_once()


def test_one_that_slept_past_its_lease_in_mid_window_publishes_nothing(fleet: Any) -> None:
    """It stops itself right before it commits a window; another publishes that window; then it wakes up."""
    sleeper = fleet.start(stop_before="relay.commit")
    fleet.until(lambda: fleet.share_of(sleeper) == 2)
    fleet.write()
    fleet.until(sleeper.is_stopped)
    other = fleet.start()
    fleet.until(lambda: fleet.share_of(other) == 2, "the lease runs out")
    fleet.until_published()
    sleeper.send(signal.SIGCONT)
    fleet.until(lambda: sleeper.logged("shard_lost"))
    fleet.until(lambda: fleet.shares() == [1, 1], "it goes back to work as a newcomer")
    assert fleet.share_of(sleeper) == 1
    fleet.write()
    fleet.until_published()
    fleet.check_exactly_once()


@pytest.mark.slow
def test_one_that_slept_past_its_lease_in_mid_record_does_no_harm(fleet: Any) -> None:
    """The same right before it records a window: the number is its successor's."""
    sleeper = fleet.start(stop_before="relay.record")
    fleet.until(sleeper.is_stopped)
    fleet.write()
    other = fleet.start()
    fleet.until(lambda: fleet.share_of(other) == 2, "the lease runs out")
    fleet.until_published()
    sleeper.send(signal.SIGCONT)
    fleet.until(lambda: fleet.shares() == [1, 1])
    fleet.write()
    fleet.until_published()
    fleet.check_exactly_once()


@pytest.mark.slow
def test_more_relays_than_shards(lasting: Any) -> None:
    relays = [lasting.start()]
    for _ in range(2):
        lasting.until(lambda: len(lasting.owned()) == 2)
        relays.append(lasting.start())
    lasting.until(lambda: lasting.members() == 3 and lasting.shares() == [1, 1])
    lasting.write()
    lasting.until_published()
    settled = lasting.epochs()
    for _ in range(20):
        lasting.write()
        lasting.tables.execute("SELECT pg_sleep(0.1)")
    assert lasting.epochs() == settled, "the third waits, and moves nothing"
    owner = next(one for one in relays if lasting.share_of(one))
    owner.send(signal.SIGTERM)
    assert owner.wait() == 0
    lasting.until(lambda: lasting.shares() == [1, 1])
    lasting.until_published()
    lasting.check_exactly_once()


@pytest.mark.slow
def test_a_handover_while_the_broker_is_silent_sends_nothing_twice(lasting: Any, frozen: Callable[[], None]) -> None:
    """A window is under way when the broker stops answering, and the relay is told to go."""
    first = lasting.start()
    lasting.write()
    lasting.until_published()
    count = "SELECT count(*) FROM relay_windows"
    before = lasting.tables.execute(count).fetchone()
    frozen()
    lasting.write()
    lasting.until(lambda: lasting.tables.execute(count).fetchone() > before)
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    assert (lasting.owned(), lasting.members()) == ({}, 0)
    frozen()
    lasting.start()
    lasting.until_published()
    lasting.check_exactly_once()
