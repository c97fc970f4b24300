"""Is most of what arrives poison? Then the deploy is bad, not the messages: stop, and keep them on the topic.

The brake lives in the process: a restart releases it, and a process that is still bad brakes
again within one window (docs/design.md, "Inbox").
"""

from collections import deque
from dataclasses import dataclass, field


class BrakedError(Exception):
    """Most of the last messages were poison: mend the deploy, then restart this consumer."""


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

    def copy(self) -> "Brake":
        """Return a brake of its own, for a transaction that may yet be rolled back."""
        return Brake(self.window, self.share, deque(self.poison))
