"""S4: the key is the client's alone, and the tenant no part of it.

Two tenants number their orders alike, and the second gets the answer to the first one's request.
"""

from dataclasses import replace

from sqlalchemy import Connection

from paidonce.app.idempotency import store as keys
from paidonce.app.idempotency.store import Claim, Response
from paidonce.app.payments import store as payments
from paidonce.chaos.sabotage.patching import reword, swap

keep = keys.keep


def keep_for_all(tx: Connection, claim: Claim, response: Response) -> None:
    """Store the response where every tenant finds it."""
    keep(tx, replace(claim, tenant=""), response)


def take_out() -> None:
    """Claim and find by endpoint and key."""
    reword(keys, "CLAIM", "SELECT tenant, endpoint, idem_key", "SELECT '', endpoint, idem_key")
    reword(payments, "ACCEPT", "SELECT tenant, endpoint, idem_key", "SELECT '', endpoint, idem_key")
    reword(keys, "FIND", "WHERE tenant = %(tenant)s AND endpoint", "WHERE endpoint")
    swap(keys, "keep", keep_for_all)
