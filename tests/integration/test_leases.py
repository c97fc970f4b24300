from collections.abc import Iterator

import psycopg
import pytest

from paidonce.app.errors import LeaseLostError
from paidonce.workers import leases
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
