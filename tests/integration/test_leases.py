from collections.abc import Iterator

import psycopg
import pytest
from pydantic import ValidationError

from paidonce.app.errors import LeaseLostError
from paidonce.app.settings import Settings
from paidonce.workers import doctor_checks, leases
from paidonce.workers.leases import Session


@pytest.fixture
def session(database: str) -> Iterator[Session]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def expire(session: Session, name: str) -> None:
    session.execute("UPDATE leases SET expires_at = now() - interval '1 second' WHERE name = %s", (name,))


def test_one_owner_at_a_time(session: Session) -> None:
    first = leases.acquire(session, "a", "one", for_s=60)
    assert first is not None
    assert first.epoch == 1
    assert leases.acquire(session, "a", "two", for_s=60) is None
    assert leases.free(session, ["a", "b"]) == {"b"}


def test_an_expired_lease_goes_to_the_next_owner_under_a_new_epoch(session: Session) -> None:
    first = leases.acquire(session, "a", "one", for_s=60)
    assert first is not None
    expire(session, "a")
    assert leases.free(session, ["a"]) == {"a"}
    leases.renew(session, first, for_s=60)  # nobody came meanwhile
    expire(session, "a")
    second = leases.acquire(session, "a", "two", for_s=60)
    assert second is not None
    assert second.epoch == 2
    with pytest.raises(LeaseLostError):
        leases.renew(session, first, for_s=60)
    leases.release(session, first)  # no longer its to give
    assert leases.free(session, ["a"]) == set()


def test_a_released_lease_is_free_at_once(session: Session) -> None:
    first = leases.acquire(session, "a", "one", for_s=60)
    assert first is not None
    leases.release(session, first)
    second = leases.acquire(session, "a", "one", for_s=60)
    assert second is not None
    assert second.epoch == 2


def test_the_same_owner_does_not_get_a_lease_twice(session: Session) -> None:
    assert leases.acquire(session, "a", "one", for_s=60) is not None
    assert leases.acquire(session, "a", "one", for_s=60) is None


def set_back(session: Session, by_s: float) -> None:
    """What is recorded stands as it would if the database's clock had been set back."""
    session.execute("UPDATE leases SET expires_at = expires_at + %s * interval '1 second'", (by_s,))


def test_a_clock_that_was_set_back_freezes_no_dead_owners_lease_for_longer_than_a_lease_may_last(
    session: Session,
) -> None:
    """And fences nobody less: who slept through it finds another epoch."""
    stale = leases.acquire(session, "relay/a", "one", for_s=60)
    assert stale is not None
    set_back(session, by_s=leases.LONGEST_S - 60)
    assert leases.acquire(session, "relay/a", "two", for_s=60) is None, "such a lease may have been given"
    set_back(session, by_s=1)
    assert (leases.free(session, ["relay/a"]), leases.held(session)) == ({"relay/a"}, set())
    second = leases.acquire(session, "relay/a", "two", for_s=60)
    assert second is not None
    assert second.epoch == 2
    with pytest.raises(LeaseLostError):
        leases.renew(session, stale, for_s=60)
    set_back(session, by_s=3600)
    assert leases.sweep(session, "relay/") == 1


def test_an_owner_that_lives_keeps_its_lease_when_the_clock_is_set_back(session: Session) -> None:
    lease = leases.acquire(session, "a", "one", for_s=60)
    assert lease is not None
    set_back(session, by_s=3600)
    leases.renew(session, lease, for_s=60)
    assert leases.acquire(session, "a", "two", for_s=60) is None


@pytest.mark.parametrize("name", ["relay_lease_s", "cleaner_lease_s"])
def test_no_setting_gives_a_longer_lease(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: leases.LONGEST_S + 1})


def test_the_doctor_sees_a_lease_that_lasts_too_long(session: Session, database: str) -> None:
    settings = Settings(dsn=database)
    assert leases.acquire(session, "relay-shard-0", "one", for_s=settings.relay_lease_s) is not None
    assert doctor_checks.postgres(settings)
    set_back(session, by_s=90)
    with pytest.raises(doctor_checks.WrongError, match=r"relay-shard-0 .* by one lasts .*the clock was set back"):
        doctor_checks.postgres(settings)
