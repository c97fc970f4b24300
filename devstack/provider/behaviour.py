"""What does a payment method make the simulator do? Pure: the dice are seeded, nothing is stored here.

`pm_<behaviour>` is for the charge; `pm_refund_<behaviour>` charges well and is for the refunds.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from paidonce.devstack.provider.options import Options

Failure = Literal["500", "reset", "429", "402", "garbage", "mismatch"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What happens to one request."""

    #: None: captured or succeeded; a text: declined or failed, with that code
    refusal: str | None = None
    #: the request ends so before it had an effect
    before: Failure | None = None
    #: the effect happens, and the answer is lost or spoilt so
    after: Failure | None = None
    #: seconds before the effect
    wait_before_s: float = 0.0
    #: seconds between the effect and its answer
    wait_after_s: float = 0.0


#: name -> what the help says of it
HELP = {
    "ok": "captured (or succeeded) at once",
    "declined": "declined (or failed) with insufficient_funds; also spelled pm_refund_fails",
    "rejected": "402, no object is made",
    "slow": "captured after --slow-s",
    "timeout": "captured at once, answered after --timeout-s",
    "late": "captured and answered after --timeout-s: a look-up finds nothing for so long",
    "reset_after": "captured, then the connection is reset; a repeated key gets the 201",
    "reset_before": "the connection is reset without an effect the first time, then as ok",
    "500_after": "captured, then 500; a repeated key gets the 201",
    "500_before": "500 without an effect the first time, then as ok",
    "500_always": "500 without an effect, each time",
    "429": "429 with Retry-After the first time, then as ok",
    "garbage_after": "captured, then 201 with a body that is not JSON; a repeated key gets the 201",
    "mismatch_after": "captured, then 201 about another reference; a repeated key gets the 201",
    "flaky": "a third of the requests end in one of 500, reset, 429, with or without an effect",
}
_ALIASES = {"fails": "declined"}
_FLAKY_SHARE = 1 / 3
_FLAKES: tuple[tuple[Literal["before", "after"], Failure], ...] = (
    ("before", "500"),
    ("before", "reset"),
    ("before", "429"),
    ("after", "500"),
    ("after", "reset"),
)


def help_text() -> str:
    """Return one line for each payment method."""
    lines = [f"  pm_{name:<15} {meaning}" for name, meaning in HELP.items()]
    return "\n".join([*lines, "  pm_refund_…        captured; its refunds behave as pm_… says"])


def known(payment_method: str) -> bool:
    """Tell whether the simulator has this payment method."""
    return _name(payment_method) in HELP


def of_charge(payment_method: str, reference: str, attempt: int, options: Options) -> Behaviour:
    """Return what happens to the charge's attempt number `attempt`, counted from 1 by reference."""
    name = "ok" if payment_method.startswith("pm_refund_") else _name(payment_method)
    return _behaviour(name, f"charge:{reference}", attempt, options)


def of_refund(payment_method: str, reference: str, attempt: int, options: Options) -> Behaviour:
    """Return what happens to the attempt number `attempt` of a refund of a charge made with `payment_method`."""
    name = _name(payment_method) if payment_method.startswith("pm_refund_") else "ok"
    return _behaviour(name, f"refund:{reference}", attempt, options)


def _name(payment_method: str) -> str:
    name = payment_method.removeprefix("pm_refund_").removeprefix("pm_")
    return _ALIASES.get(name, name)


def _behaviour(name: str, subject: str, attempt: int, options: Options) -> Behaviour:
    # by subject and attempt, not by order of arrival: a run can be repeated although requests race
    dice = random.Random(f"{options.seed}:{subject}:{attempt}")  # noqa: S311  dice, not a secret
    behaviour = _scripted(name, attempt, options)
    if name == "flaky" and dice.random() < _FLAKY_SHARE:
        behaviour = _flake(behaviour, dice)
    if dice.random() < options.error_rate:
        behaviour = _flake(behaviour, dice)
    if dice.random() < options.throttle_rate:
        behaviour = replace(behaviour, before="429")
    delay_s = dice.uniform(0, 2 * options.delay_s)
    return replace(behaviour, wait_before_s=behaviour.wait_before_s + delay_s)


def _flake(behaviour: Behaviour, dice: random.Random) -> Behaviour:
    when, failure = dice.choice(_FLAKES)
    return replace(behaviour, before=failure) if when == "before" else replace(behaviour, after=failure)


def _scripted(name: str, attempt: int, options: Options) -> Behaviour:
    always = _ALWAYS.get(name)
    if always:
        return always(options)
    return _FIRST_TIME.get(name, _WELL) if attempt == 1 else _WELL


_WELL = Behaviour()
_ALWAYS: Mapping[str, Callable[[Options], Behaviour]] = {
    "declined": lambda _: Behaviour(refusal="insufficient_funds"),
    "rejected": lambda _: Behaviour(before="402"),
    "slow": lambda options: Behaviour(wait_before_s=options.slow_s),
    "timeout": lambda options: Behaviour(wait_after_s=options.timeout_s),
    "late": lambda options: Behaviour(wait_before_s=options.timeout_s),
    "500_always": lambda _: Behaviour(before="500"),
}
_FIRST_TIME: Mapping[str, Behaviour] = {
    "reset_before": Behaviour(before="reset"),
    "reset_after": Behaviour(after="reset"),
    "500_before": Behaviour(before="500"),
    "500_after": Behaviour(after="500"),
    "429": Behaviour(before="429"),
    "garbage_after": Behaviour(after="garbage"),
    "mismatch_after": Behaviour(after="mismatch"),
}
