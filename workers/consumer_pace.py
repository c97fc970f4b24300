"""How many messages may one transaction take? As many as wait, while it stays short.

A transaction's locks and results are waited for: by the API, by the effects worker, by a stop. So
a slow handler gets small batches, a quick one large ones, and each start begins small. Where few
come, one after the other, they gather for a moment: a batch costs as much for one as for ten.
"""

from dataclasses import dataclass, field

#: Seconds that a transaction aims at. Long beside the disk's and Kafka's few milliseconds, so that these cost little;
#: short beside what a client waits for a payment's lock.
AIM_S = 0.25
#: Messages of a transaction at the start, and at least: below it a batch gains little.
LEAST = 50
#: Seconds from the beginning of a small batch (below LEAST) to the next: who comes alone waits for nobody, and where
#: messages come one after the other, ten share the milliseconds that a batch costs four programs.
GATHER_S = 0.02


@dataclass(slots=True)
class Pace:
    """Finds the batch that takes about AIM_S, by halves and doubles, up to `limit` messages."""

    limit: int
    most: int = field(init=False)
    #: monotonic seconds until which messages may gather
    gather_until: float = 0.0

    def __post_init__(self) -> None:
        self.most = min(LEAST, self.limit)

    def note(self, count: int, began: float, ended: float) -> None:
        """Take a transaction of `count` messages into account; times in monotonic seconds."""
        seconds = ended - began
        self.gather_until = began + GATHER_S if count < min(LEAST, self.limit) else 0.0
        if seconds > AIM_S:
            self.most = min(self.limit, max(LEAST, self.most // 2))
        elif count >= self.most and seconds < AIM_S / 2:
            self.most = min(self.limit, self.most * 2)
