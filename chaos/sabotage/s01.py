"""S1: the key is looked for first, then the work is done, and the key is stored with it; nobody asks whether it was.

Two requests at once both find no key, and both pay.
"""

from dataclasses import asdict

from sqlalchemy import Connection

from paidonce.app.idempotency import store as keys
from paidonce.app.idempotency.store import Claim
from paidonce.app.payments import store as payments
from paidonce.chaos.sabotage.patching import reword, swap

TAKEN = """
    SELECT FROM idempotency WHERE tenant = %(tenant)s AND endpoint = %(endpoint)s AND idem_key = %(key)s
"""
NOT_TAKEN = """
    SELECT wanted.* FROM wanted
     WHERE customer_known AND NOT EXISTS (
               SELECT FROM idempotency AS found
                WHERE (found.tenant, found.endpoint, found.idem_key)
                    = (wanted.tenant, wanted.endpoint, wanted.idem_key))
"""


def look_then_take(tx: Connection, claim: Claim) -> bool:
    """Take the key if it is not taken."""
    if tx.exec_driver_sql(TAKEN, asdict(claim)).first() is not None:
        return False
    tx.exec_driver_sql(keys.CLAIM, asdict(claim))
    return True


def take_out() -> None:
    """Check, then insert."""
    swap(keys, "take", look_then_take)
    reword(payments, "ACCEPT", "SELECT wanted.* FROM wanted JOIN claim USING (resource_id)", NOT_TAKEN)
    reword(payments, "ACCEPT", "IN (SELECT resource_id FROM claim)", "IN (SELECT resource_id FROM accepted)")
