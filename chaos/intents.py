"""What shall each payment go through? Decided from the seed before the first request is sent.

Each payment draws from a generator of its own, so that its fate does not hang on how the
requests interleave. The same seed is the same plan; what the machine makes of it still varies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

TENANTS = ("acme", "globex")

#: What the provider simulator does with a payment (`python -m paidonce.devstack.provider --help`) -> its weight.
#: pm_rejected is left out: a 4xx after an attempt whose answer was lost tells nothing of that attempt, so the
#: charge stays unknown until the provider has forgotten the key (docs/design.md, "Effects"), a day after the demo.
METHODS = {
    "pm_ok": 60,
    "pm_declined": 8,
    "pm_slow": 5,
    "pm_reset_after": 4,
    "pm_500_after": 4,
    "pm_refund_reset_after": 4,
    "pm_refund_declined": 3,
    "pm_flaky": 3,
    "pm_429": 2,
    "pm_garbage_after": 2,
    "pm_timeout": 2,
    "pm_late": 1,
}

#: One payment in so many is the last one's twin: the other tenant's, with the same key and the same body.
TWIN_EACH = 15

CURRENCIES = ("EUR", "USD", "JPY")

#: Share of payments that arrive together with their neighbours instead of evenly spread.
BURST_SHARE = 0.3
#: Parallel duplicates of the one payment in a run that everybody sends at once.
STAMPEDE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundWish:
    """A refund that the client wants once; `amount` None is all that is left."""

    subject: str
    amount: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A payment that a client wants once, and how badly it behaves about it."""

    subject: str
    tenant: str
    #: minor units
    amount: int
    currency: str
    payment_method: str
    #: seconds after the load's begin at which it is first sent
    at_s: float
    #: seconds after which the first attempt is given up: too early on purpose; None: a normal time limit
    impatient_s: float | None
    #: copies sent at once beside the first request, to other replicas too
    duplicates: int
    #: whether another payload is sent under the same key afterwards
    mismatch: bool
    #: whether the request is sent again when the payment is long final
    replay: bool
    #: whether it is canceled right after it was accepted
    cancel: bool
    #: refunds wanted once it is captured, all sent at once
    refunds: tuple[RefundWish, ...]

    @property
    def key(self) -> str:
        """The Idempotency-Key of the payment, the same for every attempt."""
        return f"pay-{self.subject}"


def intents(
    seed: int, payments: int, load_s: float, methods: Mapping[str, int] = METHODS, *, twins: bool = True
) -> list[Intent]:
    """Return the payments of a run, spread over `load_s` seconds, some in bursts; `methods` have weights.

    With `twins`, some share key and body with another tenant's.
    """
    bursts = [Random(f"{seed} burst {number}").random() * load_s for number in range(max(1, payments // 25))]
    wanted = [
        _intent(Random(f"{seed} payment {number}"), f"{seed}-{number:05}", load_s * number / payments, bursts, methods)
        for number in range(payments)
    ]
    for number in range(TWIN_EACH - 1, payments, TWIN_EACH) if twins else ():
        first = wanted[number - 1]
        wanted[number] = replace(first, tenant=next(tenant for tenant in TENANTS if tenant != first.tenant))
    # The one payment in the middle is sent by everybody at once.
    wanted[payments // 2] = replace(wanted[payments // 2], duplicates=STAMPEDE)
    return wanted


def _intent(draw: Random, subject: str, even_s: float, bursts: Sequence[float], methods: Mapping[str, int]) -> Intent:
    amount = draw.randint(100, 50_000)
    cancel = draw.random() < 0.10
    return Intent(
        subject=subject,
        tenant=draw.choice(TENANTS),
        amount=amount,
        currency=draw.choice(CURRENCIES),
        payment_method=draw.choices(list(methods), list(methods.values()))[0],
        at_s=draw.choice(bursts) if draw.random() < BURST_SHARE else even_s,
        impatient_s=draw.uniform(0.003, 0.05) if draw.random() < 0.15 else None,
        duplicates=draw.choices((0, 1, 2, 4), (70, 15, 10, 5))[0],
        mismatch=draw.random() < 0.08,
        replay=draw.random() < 0.15,
        cancel=cancel,
        refunds=() if cancel else _refunds(draw, subject, amount),
    )


def _refunds(draw: Random, subject: str, amount: int) -> tuple[RefundWish, ...]:
    """None for most; else all of it, a part, or two that together want more than there is."""
    amounts: tuple[int | None, ...] = draw.choices(
        ((), (None,), (amount // 3,), (amount // 2, amount // 3), (amount * 2 // 3, amount * 2 // 3)),
        (70, 10, 10, 5, 5),
    )[0]
    return tuple(RefundWish(subject=f"{subject}-r{number}", amount=one) for number, one in enumerate(amounts))
