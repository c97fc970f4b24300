"""Is most of what arrives poison? Then the deploy is bad, not the messages: stop, and keep them on the topic.

The member that notices writes a row (app/messaging/brakes.py); every member looks for it, and
stands still until it is released, across restarts (docs/design.md, "Dead letters").
"""

from collections import deque
from dataclasses import dataclass, field


class BrakedError(Exception):
    """The consumer stands still: mend the deploy, then `paidonce brake release` it."""

    def __init__(self, consumer: str, reason: str) -> None:
        super().__init__(f"{reason}. Mend the deploy, then: paidonce brake release {consumer}")


@dataclass(slots=True)
class Brake:
    """Looks back over the last `window` messages; `share` of poison among them engages it."""

    window: int
    share: float
    poison: deque[bool] = field(default_factory=deque)

    def note(self, *, poison: bool) -> None:
        """Take one more message into account."""
        self.poison.append(poison)
        if len(self.poison) > self.window:
            self.poison.popleft()

    @property
    def engaged(self) -> bool:
        """Whether to stop. Fewer messages than the window never say so: one bad message is not a bad deploy."""
        return len(self.poison) >= self.window and sum(self.poison) >= self.share * self.window

    @property
    def reason(self) -> str:
        """What it saw, for the row and the log."""
        return f"{sum(self.poison)} of the last {len(self.poison)} messages were poison"

    def copy(self) -> "Brake":
        """Return a brake of its own, for a transaction that may yet be rolled back."""
        return Brake(self.window, self.share, deque(self.poison))

    def adopt(self, other: "Brake") -> None:
        """Take over what a copy has seen: its transaction was committed."""
        self.poison = other.poison

    def reset(self) -> None:
        """Forget what was seen before it was released."""
        self.poison.clear()
