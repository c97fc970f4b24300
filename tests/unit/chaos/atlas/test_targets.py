"""Is every step of the source struck, each in every way, and nobody twice in a round?"""

import re
from collections import Counter
from pathlib import Path

import pytest

from paidonce.chaos.atlas.errands import ERRANDS, errand_for
from paidonce.chaos.atlas.targets import AT_ONCE, KINDS, all_steps, rounds, targets

ROOT = Path(__file__).parents[4]
MARK = re.compile(r'@step\("([a-z_.]+)"\)')


def test_the_list_of_steps_is_what_the_source_marks() -> None:
    files = [path for folder in ("app", "workers") for path in (ROOT / folder).rglob("*.py")]
    assert all_steps() == sorted(name for path in files for name in MARK.findall(path.read_text()))


def test_each_step_has_a_strike_of_each_kind_before_and_after_it() -> None:
    made = targets()
    assert Counter(one.strike.step for one in made) == dict.fromkeys(all_steps(), 2 * len(KINDS))
    assert len({one.strike.text for one in made}) == len({one.number for one in made}) == len(made)


def test_patterns_and_kinds_choose() -> None:
    made = targets("relay.c*,effects.claim", ["stop"])
    assert {one.strike.kind for one in made} == {"stop"}
    assert {one.strike.step for one in made} >= {"relay.commit", "relay.confirm", "effects.claim"}
    assert {one.part for one in made} == {"relay", "effects"}
    assert targets("nothing.*") == []


@pytest.mark.parametrize("seed", range(5))
def test_the_rounds_hold_every_strike_once_one_kind_and_one_strike_a_step(seed: int) -> None:
    made = targets()
    dealt = rounds(made, seed)
    assert Counter(one.number for together in dealt for one in together) == dict.fromkeys(range(1, len(made) + 1), 1)
    for together in dealt:
        assert len({one.strike.kind for one in together}) == 1
        assert max(Counter(one.strike.step for one in together).values()) == 1
        parts = Counter(one.part for one in together)
        assert {part: count for part, count in parts.items() if count > AT_ONCE.get(part, 1)} == {}


def test_the_seed_decides_who_is_struck_together() -> None:
    made = targets("relay.*,effects.*")
    assert rounds(made, 1) == rounds(made, 1) != rounds(made, 2)


def test_every_errand_is_for_some_step() -> None:
    assert {errand_for(step) for step in all_steps()} - {None} == {*ERRANDS.values()}
