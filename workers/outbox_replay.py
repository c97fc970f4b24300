"""How are events of the past published again? Copies of them are appended to the outbox, under their old message ids.

Whoever knows a message absorbs its copy; whoever does not (a new consumer, a database that was set
back) works on it, after what has been published since: that is the limit of order
(docs/design.md, "Outbox").
"""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Engine

from paidonce.app import db, installation
from paidonce.app.errors import PaidonceError
from paidonce.app.messaging import outbox
from paidonce.app.messaging.outbox import Copied, Range, Retained
from paidonce.app.steps import step

#: Events of one transaction: some 50 ms, so that a replay that is broken off has lost nothing but its place.
BATCH = 1_000


class ReplayError(PaidonceError):
    """There is nothing to replay."""


def parse(moment: str) -> datetime:
    """Return the moment that an ISO 8601 text names; one without an offset is UTC. Raises ValueError."""
    found = datetime.fromisoformat(moment)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def look(bind: Engine, wanted: Range) -> Retained:
    """Return what there is to replay.

    Raises:
        ReplayError: nothing; or the range ends before it begins.
    """
    if wanted.start >= wanted.end:
        raise ReplayError(
            f"--from ({wanted.start.isoformat()}) is not before --to ({wanted.end.isoformat()}): times without an "
            "offset are UTC"
        )
    with bind.connect() as tx:
        found = outbox.retained(tx, wanted)
        oldest = outbox.oldest(tx)
    if not found.events:
        of = f" of {wanted.aggregateid}" if wanted.aggregateid else ""
        since = f"it goes back to {oldest.astimezone(UTC).isoformat()}" if oldest else "it is empty"
        raise ReplayError(
            f"the outbox has no event{of} from {wanted.start.isoformat()} until before {wanted.end.isoformat()}: "
            f"{since}"
        )
    return found


def replay(bind: Engine, wanted: Range, *, progress: Callable[[int], object], batch: int = BATCH) -> int:
    """Append a copy of each event of the range, shard by shard in order; return how many.

    One transaction for each `batch` of them; `progress(so_far)` hears of each. Nothing that is
    appended meanwhile is copied, and never a copy.
    """
    with bind.connect() as tx:
        shards = installation.shards(tx)
        last = outbox.last_position(tx)
    total = 0
    for shard in range(shards):
        position = 0
        while (copied := _copy(bind, wanted, shard=shard, after=position, up_to=last, most=batch)).events:
            total, position = total + copied.events, copied.position
            progress(total)
    return total


@step("replay.copy")
def _copy(bind: Engine, wanted: Range, **bounds: int) -> Copied:
    with db.begin(bind) as tx:
        return outbox.copy(tx, wanted, **bounds)
