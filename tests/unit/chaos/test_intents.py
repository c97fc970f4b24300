"""Is the same seed the same plan, and does a run contain everything that it is meant to try?"""

from collections import Counter

from paidonce.chaos.intents import METHODS, STAMPEDE, TENANTS, TWIN_EACH, intents


def test_the_same_seed_is_the_same_plan_and_another_is_another() -> None:
    assert intents(7, 50, 10.0) == intents(7, 50, 10.0)
    assert intents(7, 50, 10.0) != intents(8, 50, 10.0)


def test_a_run_of_300_tries_everything() -> None:
    wanted = intents(1, 300, 15.0)
    assert len({(intent.tenant, intent.key) for intent in wanted}) == 300
    twins = [one for one, count in Counter(intent.key for intent in wanted).items() if count == 2]
    assert len(twins) == 300 // TWIN_EACH
    assert {intent.tenant for intent in wanted} == set(TENANTS)
    assert {intent.payment_method for intent in wanted} == set(METHODS)
    assert all(0 <= intent.at_s <= 15.0 for intent in wanted)
    assert max(intent.duplicates for intent in wanted) == STAMPEDE
    for badly in ("impatient_s", "duplicates", "mismatch", "replay", "cancel", "refunds"):
        assert sum(bool(getattr(intent, badly)) for intent in wanted) >= 10, badly
    greedy = [i for i in wanted if sum(wish.amount or 0 for wish in i.refunds) > i.amount]
    assert greedy
    assert {wish.amount is None for intent in wanted for wish in intent.refunds} == {True, False}
