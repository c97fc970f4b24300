"""S13: a call that got no answer is sent again, as any other.

A provider that does not keep keys, or no longer has this one, charges a second time.
"""

from datetime import datetime

from paidonce.app.messaging.effect_kinds import Effect
from paidonce.app.messaging.effect_rules import Rules
from paidonce.chaos.sabotage.patching import swap
from paidonce.workers import effect_lane


def may_always_send(_effect: Effect, _rules: Rules, _now: datetime) -> bool:
    """Send."""
    return True


def take_out() -> None:
    """Retry whatever was not answered."""
    swap(effect_lane, "may_send", may_always_send)
