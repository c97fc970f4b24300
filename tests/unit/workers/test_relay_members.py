import random

import pytest

from paidonce.app.clock import new_id
from paidonce.workers.relay_members import PREFIX, share


def relay(host: str) -> str:
    """The name of a relay that was started now."""
    return f"{PREFIX}{host}:1:{new_id()}"


def shares(names: list[str], shards: int) -> dict[str, int]:
    return {name: share(names, name, shards) for name in names}


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 70])
def test_shares_are_fair_and_leave_nothing_over(shards: int, count: int) -> None:
    found = shares([relay("a") for _ in range(count)], shards)
    assert sum(found.values()) == shards
    assert max(found.values()) - min(found.values()) <= 1


def test_all_see_the_same_in_whatever_order() -> None:
    names = [relay(host) for host in "cab"]
    other = names.copy()
    random.Random(1).shuffle(other)
    assert shares(names, 4) == shares(other, 4)


def test_a_newcomer_takes_from_those_who_have_more_and_moves_nothing_between_them() -> None:
    """Its host may sort before theirs: it is its age that counts."""
    names = [relay(host) for host in "zyx"]
    newcomer = relay("a")
    before, after = shares(names, 7), shares([*names, newcomer], 7)
    assert [before[name] for name in names] == [3, 2, 2]
    assert [after[name] for name in [*names, newcomer]] == [2, 2, 2, 1]


def test_with_more_relays_than_shards_the_youngest_stand_by() -> None:
    names = [relay(host) for host in "dcba"]
    assert [share(names, name, 2) for name in names] == [1, 1, 0, 0]
