"""S12: each attempt has a key of its own, because the last one "did not work".

To the provider every retry is another charge.
"""

from paidonce.app.messaging.answers import Answer
from paidonce.app.messaging.effect_kinds import Effect
from paidonce.app.payments.effect_kinds import ChargeKind, RefundKind
from paidonce.chaos.sabotage.patching import swap


async def charge(kind: ChargeKind, effect: Effect) -> Answer:
    """Send the charge under the attempt's key."""
    return await kind._provider.charge(f"charge-{effect.subject}-{effect.attempts}", effect.request)


async def refund(kind: RefundKind, effect: Effect) -> Answer:
    """Send the refund under the attempt's key."""
    return await kind._provider.refund(f"refund-{effect.subject}-{effect.attempts}", effect.request)


def take_out() -> None:
    """Make the provider's key of the attempt."""
    swap(ChargeKind, "call", charge)
    swap(RefundKind, "call", refund)
