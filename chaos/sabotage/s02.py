"""S2: the event of a new payment is written in a transaction of its own, after the one that accepts it.

A process that dies in between leaves a payment that was acknowledged, and that nobody ever hears of.
"""

from collections.abc import Sequence
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from paidonce.app.payments import store
from paidonce.app.payments.store import Accepted, Wanted
from paidonce.chaos.sabotage.patching import reword, swap

EVENT = """, event AS (
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers)
    SELECT event_id, aggregatetype, aggregateid, type, sequence, convert_to(payload, 'UTF8'), headers
      FROM accepted
)"""
TELL = f"""
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers)
    SELECT event_id, aggregatetype, aggregateid, type, sequence, convert_to(payload, 'UTF8'), headers
      FROM {store.WANTED}
"""  # noqa: S608  composed of constants

accept = store.accept


async def accept_then_tell(
    connection: AsyncConnection, wanted: Sequence[Wanted], *, lock_wait_ms: int | None = None
) -> dict[UUID, Accepted]:
    """Accept; and when that is committed, write the events."""
    accepted = await accept(connection, wanted, lock_wait_ms=lock_wait_ms)
    rows = [store._row(one) for one in wanted if accepted[one.payment.id].claimed]
    await connection.execute(TELL, {"rows": orjson.dumps(rows).decode()})
    return accepted


def take_out() -> None:
    """Append the event in a second transaction."""
    reword(store, "ACCEPT", EVENT, "")
    swap(store, "accept", accept_then_tell)
