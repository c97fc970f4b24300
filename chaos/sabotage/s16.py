"""S16: the payment is read, its state looked at, and the change written; without a lock in between.

The provider's reply and its webhook come at the same moment, both find the payment `charging`, and both count.
"""

from uuid import UUID

from sqlalchemy import Connection, func, select

from paidonce.app.errors import NotFoundError
from paidonce.app.payments import store
from paidonce.app.payments.model import Payment
from paidonce.app.tables import payments
from paidonce.chaos.sabotage.patching import swap


def read(tx: Connection, payment_id: UUID, tenant: str | None = None) -> Payment:
    """Return a payment as it is."""
    query = select(*store._COLUMNS[:-1], func.now().label("updated_at")).where(payments.c.id == payment_id)
    if tenant is not None:
        query = query.where(payments.c.tenant == tenant)
    row = tx.execute(query).mappings().first()
    if row is None:
        raise NotFoundError
    return store._payment(row)


def take_out() -> None:
    """Look at a state that may be an old one."""
    swap(store, "lock", read)
