"""How many shards are to be mine? A fair share among the relays that live; the oldest take what does not divide.

Each relay is a lease of its own, `relay/<owner>`, kept as its shards' leases are. All sort the same
living names the same way, so all come to the same shares, and nobody has to agree with anybody
(docs/design.md, "Leases").
"""

from collections.abc import Collection

from paidonce.app.errors import LeaseLostError
from paidonce.workers import leases
from paidonce.workers.leases import Lease, Session

PREFIX = "relay/"


def share(names: Collection[str], mine: str, shards: int) -> int:
    """Return how many of `shards` the relay `mine` is to own beside the other living ones.

    An owner's name ends with a time-ordered id. By age, because a newcomer then takes shards only
    from those who have more than it is to have, and moves nothing between the others.
    """
    by_age = sorted(names, key=lambda name: name.rpartition(":")[2])
    return shards // len(by_age) + (by_age.index(mine) < shards % len(by_age))


class Member:
    """This relay among the others."""

    def __init__(self, *, for_s: float) -> None:
        """Nobody sees it before `join`; its lease lasts `for_s` seconds."""
        self._for_s = for_s
        self._lease: Lease | None = None
        self.owner = leases.new_owner()

    def renew(self, session: Session) -> None:
        """Stay, and forget those who are gone; join again, as the youngest, when they have forgotten us."""
        if self._lease is not None:
            try:
                leases.renew(session, self._lease, for_s=self._for_s)
            except LeaseLostError:
                self._lease = None
        if self._lease is None:
            self._join(session)
        leases.sweep(session, PREFIX)

    def look(self, session: Session, names: Collection[str]) -> tuple[int, set[str]]:
        """Return how many of the leases `names` are to be ours, and which of them nobody holds."""
        held = leases.held(session)
        if self._lease is None or self._lease.name not in held:
            self._join(session)
            held = leases.held(session)
        assert self._lease is not None
        living = {name for name in held if name.startswith(PREFIX)} | {self._lease.name}
        return share(living, self._lease.name, len(names)), set(names) - held

    def leave(self, session: Session) -> None:
        """Tell the others at once that we are gone."""
        lease, self._lease = self._lease, None
        if lease is not None:
            leases.remove(session, lease)

    def _join(self, session: Session) -> None:
        self.owner = leases.new_owner()
        self._lease = leases.acquire(session, PREFIX + self.owner, self.owner, for_s=self._for_s)
