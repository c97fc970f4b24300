"""Who owns what? A row a name, on the database's clock, with an epoch that grows with each new owner.

Not a session's advisory lock: that vanishes with the session and breaks behind a pooler in
transaction mode (docs/design.md, "Leases"). An owner that slept past its lease finds out by its
epoch, wherever that matters. A clock that was set back would keep a dead owner's lease for as long:
one that lasts longer than anybody may set counts as run out. Home of the table `leases`.
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from paidonce.app.clock import new_id
from paidonce.app.errors import LeaseLostError
from paidonce.app.settings import LEASE_LONGEST_S
from paidonce.app.steps import step

Session = psycopg.Connection[Any]

#: Seconds, the longest lease that any setting may give.
LONGEST_S = LEASE_LONGEST_S
_LONGEST = {"longest_s": LONGEST_S}

ACQUIRE = """
    INSERT INTO leases AS held (name, owner, epoch, expires_at)
    VALUES (%(name)s, %(owner)s, 1, clock_timestamp() + %(for_s)s * interval '1 second')
        ON CONFLICT (name) DO UPDATE
       SET owner = EXCLUDED.owner, epoch = held.epoch + 1, expires_at = EXCLUDED.expires_at
     WHERE held.owner IS NULL
        OR held.expires_at NOT BETWEEN clock_timestamp()
                                   AND clock_timestamp() + %(longest_s)s * interval '1 second'
    RETURNING epoch
"""
RENEW = """
    UPDATE leases SET expires_at = clock_timestamp() + %(for_s)s * interval '1 second'
     WHERE name = %(name)s AND owner = %(owner)s AND epoch = %(epoch)s
    RETURNING epoch
"""
RELEASE = """
    UPDATE leases SET owner = NULL, expires_at = NULL
     WHERE name = %(name)s AND owner = %(owner)s AND epoch = %(epoch)s
"""
REMOVE = "DELETE FROM leases WHERE name = %(name)s AND owner = %(owner)s AND epoch = %(epoch)s"
SWEEP = """
    DELETE FROM leases
     WHERE starts_with(name, %(prefix)s)
       AND expires_at NOT BETWEEN clock_timestamp() AND clock_timestamp() + %(longest_s)s * interval '1 second'
"""
HELD_NOW = """
    SELECT name FROM leases
     WHERE owner IS NOT NULL
       AND expires_at BETWEEN clock_timestamp() AND clock_timestamp() + %(longest_s)s * interval '1 second'
"""
HOLDERS = """
    SELECT name, owner, epoch, extract(epoch FROM expires_at - clock_timestamp())::float8
      FROM leases WHERE owner IS NOT NULL ORDER BY name
"""
#: A condition for statements of others: true while nobody has taken the lease over. Needs `lease` and `epoch`.
HELD = "EXISTS (SELECT FROM leases WHERE name = %(lease)s AND epoch = %(epoch)s)"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease, or held it last."""

    name: str
    owner: str
    epoch: int
    #: seconds that are left; below 0, or above LONGEST_S, it is free, and nobody has taken it
    left_s: float


@dataclass(frozen=True, slots=True)
class Lease:
    """What one owner holds; `epoch` is never given out twice for a name."""

    name: str
    owner: str
    epoch: int


def new_owner() -> str:
    """Return a name for this process that no other ever had."""
    return f"{socket.gethostname()}:{os.getpid()}:{new_id()}"


def free(session: Session, names: Iterable[str]) -> set[str]:
    """Return those of `names` that nobody holds right now; reads only, so that waiting costs no writes."""
    return set(names) - held(session)


def held(session: Session) -> set[str]:
    """Return the names that somebody holds right now."""
    return {name for (name,) in session.execute(HELD_NOW, _LONGEST)}


def holders(session: Session) -> list[Holder]:
    """Return who holds what, by name."""
    return [Holder(*row) for row in session.execute(HOLDERS)]


@step("leases.acquire")
def acquire(session: Session, name: str, owner: str, *, for_s: float) -> Lease | None:
    """Take the lease `name` for `for_s` seconds under a new epoch; None while somebody holds it."""
    row = session.execute(ACQUIRE, {"name": name, "owner": owner, "for_s": for_s} | _LONGEST).fetchone()
    return Lease(name, owner, row[0]) if row else None


@step("leases.renew")
def renew(session: Session, lease: Lease, *, for_s: float) -> None:
    """Hold the lease for `for_s` seconds from now.

    Raises:
        LeaseLostError: somebody has taken it over under a later epoch.
    """
    if session.execute(RENEW, _parameters(lease) | {"for_s": for_s}).fetchone() is None:
        raise LeaseLostError(f"the lease {lease.name} of epoch {lease.epoch} was taken over")


@step("leases.release")
def release(session: Session, lease: Lease) -> None:
    """Give the lease up at once, if it is still ours."""
    session.execute(RELEASE, _parameters(lease))


@step("leases.remove")
def remove(session: Session, lease: Lease) -> None:
    """Give the lease up and forget its name, if it is still ours: for names that nobody takes again."""
    session.execute(REMOVE, _parameters(lease))


@step("leases.sweep")
def sweep(session: Session, prefix: str) -> int:
    """Forget the leases with names that begin so and whose time is over; return how many."""
    return session.execute(SWEEP, {"prefix": prefix} | _LONGEST).rowcount


def _parameters(lease: Lease) -> dict[str, Any]:
    return {"name": lease.name, "owner": lease.owner, "epoch": lease.epoch}
