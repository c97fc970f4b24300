"""Does a seed fix which fault strikes whom and when, and does a plan that is none say why?"""

from collections import Counter
from pathlib import Path

import pytest

from paidonce.chaos import plan
from paidonce.chaos.carry_out import check
from paidonce.chaos.plan import SPAN, Faults, Plan, PlanError
from paidonce.chaos.schedule import schedule

MIXED = Plan(
    name="mixed",
    says="",
    faults=(
        Faults(kind="kill", targets=("relay", "relay", "effects"), times=2),
        Faults(kind="freeze", targets=("api-1",), for_s=(2.0, 3.0), at=(0.5, 0.5)),
    ),
)


def test_the_same_seed_is_the_same_schedule_and_another_is_another() -> None:
    assert schedule(MIXED, 7, 10.0) == schedule(MIXED, 7, 10.0)
    assert schedule(MIXED, 7, 10.0) != schedule(MIXED, 8, 10.0)


def test_a_number_means_the_same_fault_whatever_the_seed() -> None:
    named = [{one.number: (one.kind, one.target) for one in schedule(MIXED, seed, 10.0)} for seed in range(5)]
    assert named[1:] == named[:-1]
    assert sorted(named[0]) == [1, 2, 3, 4, 5, 6, 7]


def test_every_target_is_struck_inside_the_span_and_in_order() -> None:
    for seed in range(20):
        planned = schedule(MIXED, seed, 20.0)
        assert Counter(one.target for one in planned) == {"relay": 4, "effects": 2, "api-1": 1}
        times = [one.at_s for one in planned]
        assert times == sorted(times)
        assert SPAN[0] * 20.0 <= times[0]
        assert times[-1] <= SPAN[1] * 20.0


def test_a_fault_with_a_time_and_a_length_of_its_own_has_them() -> None:
    (frozen,) = [one for one in schedule(MIXED, 3, 20.0) if one.kind == "freeze"]
    assert frozen.at_s == 10.0
    assert 2.0 <= frozen.for_s <= 3.0


def test_the_plans_of_the_house_are_plans() -> None:
    for name in plan.names():
        found = plan.load(name)
        check(found)
        assert found.says, name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("says = 1", "says: "),
        ("says = ''\n[load]\npace = 0", "load.pace: "),
        ("says = ''\n[[faults]]\nkind = 'kill'", "faults.0.targets: "),
        ("says = ''\nfault = 1", "fault: Extra inputs"),
        ("says = ''\n[strikes]\nrelay = ['nonsense']", "is no strike"),
        ("says", "is no TOML"),
    ],
)
def test_a_file_that_is_no_plan_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(PlanError, match=said):
        plan.load(str(tmp_path / "mine.toml"))


def test_a_plan_that_is_not_there_and_a_fault_that_is_not_there_name_those_that_are() -> None:
    with pytest.raises(PlanError, match="demo"):
        plan.load("no-such-plan")
    with pytest.raises(PlanError, match="freeze"):
        check(Plan(name="x", says="", faults=(Faults(kind="burn", targets=("relay",)),)))
