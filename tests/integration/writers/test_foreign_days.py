"""An id whose day comes or goes is still new once: in `inbox` or in `inbox_foreign`, whichever it belongs to then."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest

from paidonce.app.messaging import inbox, partitions
from paidonce.app.settings import Settings

#: Seconds after which a lock that nobody asked for never will be.
BOUND_S = 30
WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = %s"


def claim(rig: Any, *message_ids: str) -> set[str]:
    with rig.bind.begin() as tx:
        return inbox.claim(tx, "c", message_ids)


def rows(rig: Any) -> tuple[int, int]:
    with rig.bind.begin() as tx:
        ours, foreign = (
            tx.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in ("inbox", "inbox_foreign")
        )
        return ours, foreign


def test_days_reach_from_the_retention_to_a_week_ahead(rig: Any) -> None:
    settings = Settings()
    near, far = settings.partitions_ahead_d, settings.inbox_retention_d
    inside = [str(rig.v7(days)) for days in (far, 1, 0, -near)]
    outside = [str(rig.v7(days)) for days in (far + 2, -near - 1)]
    assert claim(rig, *inside, *outside) == {*inside, *outside}
    assert rows(rig) == (len(inside), len(outside))
    assert claim(rig, *inside, *outside) == set()


def test_a_day_is_not_made_while_an_id_of_it_is_claimed_as_foreign(rig: Any) -> None:
    """Otherwise another claim of the id would find the new day, and not see the first, which is not committed."""
    ahead = 20
    id_ = str(rig.v7(-ahead))
    day = datetime.now(UTC).date() + timedelta(days=ahead)
    with ThreadPoolExecutor(2) as pool, rig.writer(autocommit=True) as look:
        with rig.bind.begin() as tx:
            assert inbox.claim(tx, "c", [id_]) == {id_}
            database = tx.exec_driver_sql("SELECT oid FROM pg_database WHERE datname = current_database()").scalar_one()
            made = pool.submit(partitions.ensure, rig.bind, day, ahead_d=1, behind_d=1)
            deadline = monotonic() + BOUND_S
            while not made.done() and look.execute(WAITS, (database,)).fetchone() == (0,):
                assert monotonic() < deadline
            # What is ours needs no lock: nobody waits for the day but who makes it.
            today = str(rig.v7(0))
            assert pool.submit(claim, rig, today).result(BOUND_S) == {today}
            with rig.bind.connect() as other:
                assert day not in partitions.attached(other, "inbox")
        assert made.result(BOUND_S) > 0
    assert claim(rig, id_) == set()


@pytest.mark.parametrize("again", [False, True])
def test_an_id_is_new_once_when_its_day_goes_by_the_clock_and_comes_back(rig: Any, again: bool) -> None:
    """A clock that was wrong: the day of the id was far away, then near, then far away."""
    id_ = str(rig.v7(-20))
    day = datetime.now(UTC).date() + timedelta(days=20)
    assert claim(rig, id_) == {id_}
    partitions.ensure(rig.bind, day, ahead_d=0, behind_d=0)
    assert claim(rig, id_) == set()
    with rig.writer(autocommit=True) as session:
        partitions.detach(session, "inbox", day, pending=False)
        assert claim(rig, id_) == set()
        if again:
            partitions.ensure(rig.bind, day, ahead_d=0, behind_d=0)
            assert claim(rig, id_) == set()
    assert rows(rig)[1] == 1
