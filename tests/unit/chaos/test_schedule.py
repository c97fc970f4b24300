"""Does a seed fix which fault strikes whom and when, and does a plan that is none say why?"""

import re
from collections import Counter
from pathlib import Path

import pytest

from paidonce.chaos import plan
from paidonce.chaos.atlas.targets import all_steps
from paidonce.chaos.carry_out import check
from paidonce.chaos.plan import SPAN, Faults, Load, Plan, PlanError
from paidonce.chaos.schedule import schedule
from paidonce.chaos.strikes import Strike

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


def test_in_a_long_run_the_faults_come_again_each_round_at_other_moments_under_numbers_of_their_own() -> None:
    longer = MIXED.model_copy(update={"load": Load(payments=600, pace=10.0, every_s=20.0)})
    planned = schedule(longer, 7, longer.load.lasts_s)
    assert sorted(one.number for one in planned) == list(range(1, 22))
    rounds = [[one for one in planned if number * 20 <= one.at_s < (number + 1) * 20] for number in range(3)]
    assert [Counter(one.target for one in found) for found in rounds] == [{"relay": 4, "effects": 2, "api-1": 1}] * 3
    assert len({one.at_s % 20 for one in planned if one.kind == "kill"}) == 18
    assert [one.at_s for one in planned if one.kind == "freeze"] == [10.0, 30.0, 50.0]


def test_what_shall_live_through_the_run_is_not_struck() -> None:
    sparing = MIXED.model_copy(update={"spares": ("relay",)})
    assert Counter(one.target for one in schedule(sparing, 7, 20.0)) == {"effects": 2, "api-1": 1}


def test_a_plan_may_say_only_how_it_differs_from_one_of_the_house(tmp_path: Path) -> None:
    own, base = tmp_path / "own.toml", plan.load("everything")
    own.write_text('like = "everything"\nsays = "mine"\n[load]\npayments = 5\n')
    found = plan.load(str(own))
    assert (found.name, found.says) == ("own", "mine")
    assert found.load == base.load.model_copy(update={"payments": 5})
    assert (found.faults, found.ground, found.skew_s) == (base.faults, base.ground, base.skew_s)


def test_the_plans_of_the_house_are_plans() -> None:
    for name in plan.names():
        found = plan.load(name)
        check(found)
        assert found.says, name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("says = 1", "says: "),
        ('like = "nosuch"', "like 'nosuch', which is none of .*calm"),
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


def test_the_plan_of_the_manual_can_be_run(tmp_path: Path) -> None:
    """And what it strikes is there: a strike at a step that nobody passes never fires."""
    manual = (Path(__file__).parents[3] / "docs/chaos.md").read_text()
    [text] = re.findall(r"```toml\n(says.*?)```", manual, re.DOTALL)
    (tmp_path / "manual.toml").write_text(text)
    found = plan.load(str(tmp_path / "manual.toml"))
    struck = {Strike.parse(one).step for strikes in found.strikes.values() for one in strikes}
    assert struck
    assert struck <= set(all_steps())
