"""Is the same seed the same plan, and does a run contain everything that it is meant to try?"""

from paidonce.chaos.faults import SPAN, TARGETS, strikes
from paidonce.chaos.plan import METHODS, STAMPEDE, TENANTS, plan


def test_the_same_seed_is_the_same_plan_and_another_is_another() -> None:
    assert plan(7, 50, 10.0) == plan(7, 50, 10.0)
    assert plan(7, 50, 10.0) != plan(8, 50, 10.0)
    assert strikes(7, 10.0) == strikes(7, 10.0)
    assert strikes(7, 10.0) != strikes(8, 10.0)


def test_a_run_of_300_tries_everything() -> None:
    intents = plan(1, 300, 15.0)
    assert len({intent.key for intent in intents}) == 300
    assert {intent.tenant for intent in intents} == set(TENANTS)
    assert {intent.payment_method for intent in intents} == set(METHODS)
    assert all(0 <= intent.at_s <= 15.0 for intent in intents)
    assert max(intent.duplicates for intent in intents) == STAMPEDE
    for badly in ("impatient_s", "duplicates", "mismatch", "replay", "cancel", "refunds"):
        assert sum(bool(getattr(intent, badly)) for intent in intents) >= 10, badly
    greedy = [i for i in intents if sum(wish.amount or 0 for wish in i.refunds) > i.amount]
    assert greedy
    assert {wish.amount is None for intent in intents for wish in intent.refunds} == {True, False}


def test_every_target_is_struck_inside_the_span_in_order() -> None:
    planned = strikes(3, 20.0)
    assert sorted(strike.target for strike in planned) == sorted(TARGETS)
    times = [strike.at_s for strike in planned]
    assert times == sorted(times)
    assert SPAN[0] * 20.0 <= times[0]
    assert times[-1] <= SPAN[1] * 20.0
