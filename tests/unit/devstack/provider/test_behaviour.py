"""What a payment method makes the simulator do: the dice are the seed's, and each name in the help is one."""

from collections import Counter

import pytest

from paidonce.devstack.provider.behaviour import HELP, Behaviour, help_text, known, of_charge, of_refund
from paidonce.devstack.provider.options import Options


def options(**given) -> Options:
    return Options(_env_file=None, **given)


@pytest.mark.parametrize("name", HELP)
def test_each_name_in_the_help_is_known_for_charges_and_refunds(name) -> None:
    assert known(f"pm_{name}")
    assert known(f"pm_refund_{name}")
    assert f"pm_{name}" in help_text()
    assert of_charge(f"pm_refund_{name}", "r", 1, options()) == Behaviour()
    assert of_refund(f"pm_{name}", "r", 1, options()) == Behaviour()
    if name != "flaky":
        assert of_refund(f"pm_refund_{name}", "r", 1, options()) == of_charge(f"pm_{name}", "r", 1, options())


@pytest.mark.parametrize("name", set(HELP) - {"ok", "flaky"})
def test_each_behaviour_is_something_else_than_ok(name) -> None:
    assert of_charge(f"pm_{name}", "r", 1, options()) != Behaviour()


def test_an_unheard_of_method_is_not_known() -> None:
    assert not known("pm_card_visa")
    assert not known("")


@pytest.mark.parametrize("name", ["reset_after", "reset_before", "500_after", "500_before", "429", "garbage_after"])
def test_what_fails_the_first_time_does_well_the_second(name) -> None:
    assert of_charge(f"pm_{name}", "r", 2, options()) == Behaviour()


def test_the_dice_fall_by_seed_reference_and_attempt() -> None:
    def falls(seed: int) -> list[Behaviour]:
        return [of_charge("pm_flaky", f"r{n}", 1, options(seed=seed)) for n in range(300)]

    assert falls(1) == falls(1)
    assert falls(1) != falls(2)
    kinds = Counter((found.before, found.after) for found in falls(1))
    assert set(kinds) == {(None, None), ("500", None), ("reset", None), ("429", None), (None, "500"), (None, "reset")}
    assert 60 < 300 - kinds[None, None] < 140


def test_the_rates() -> None:
    always = options(throttle_rate=1)
    assert of_charge("pm_ok", "r", 5, always).before == "429"
    failing = [of_charge("pm_ok", f"r{n}", 1, options(error_rate=0.2)) for n in range(500)]
    assert 50 < sum(found != Behaviour() for found in failing) < 150
    delays = [of_charge("pm_ok", f"r{n}", 1, options(delay_s=0.1)).wait_before_s for n in range(200)]
    assert 0 <= min(delays) < max(delays) <= 0.2
