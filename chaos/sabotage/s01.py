"""S1: the key is looked for first, then the request is screened, then payment and key are stored.

Nobody asks whether the key could be stored. Two requests at once both find none, and both pay.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from uuid import UUID

from psycopg import AsyncConnection
from sqlalchemy import Connection

from paidonce.app.idempotency import store as keys
from paidonce.app.idempotency.store import Claim
from paidonce.app.payments import store as payments
from paidonce.app.payments.store import Accepted, Wanted
from paidonce.chaos.sabotage.patching import reword, swap

TAKEN = """
    SELECT FROM idempotency WHERE tenant = %(tenant)s AND endpoint = %(endpoint)s AND idem_key = %(key)s
"""
#: Seconds that a look at the customer's history or a fraud score takes where there is one.
SCREENING_S = 0.05

accept = payments.accept


def look_then_take(tx: Connection, claim: Claim) -> bool:
    """Take the key if it is not taken."""
    if tx.exec_driver_sql(TAKEN, asdict(claim)).first() is not None:
        return False
    tx.exec_driver_sql(keys.CLAIM, asdict(claim))
    return True


async def look_then_accept(
    connection: AsyncConnection, wanted: Sequence[Wanted], *, lock_wait_ms: int | None = None
) -> dict[UUID, Accepted]:
    """Accept those whose keys are not taken."""
    looks = [await connection.execute(TAKEN, asdict(one.claim)) for one in wanted]
    new = [one for one, look in zip(wanted, looks, strict=True) if look.rowcount == 0]
    await asyncio.sleep(SCREENING_S)
    taken = {one.payment.id: Accepted(claimed=False, customer_known=True) for one in wanted}
    return taken | await accept(connection, new, lock_wait_ms=lock_wait_ms)


def take_out() -> None:
    """Check, then insert."""
    swap(keys, "take", look_then_take)
    swap(payments, "accept", look_then_accept)
    reword(payments, "ACCEPT", "wanted JOIN claim USING (resource_id)", "wanted WHERE customer_known")
    reword(payments, "ACCEPT", "IN (SELECT resource_id FROM claim)", "IN (SELECT resource_id FROM accepted)")
