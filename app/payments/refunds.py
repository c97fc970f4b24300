"""Which statements touch the table `refunds`? All of them are here: this is its home.

A refund is only ever written under the lock of its payment (app/payments/store.py), so the sum
of a payment's refunds cannot change between its check and the insert.
"""

from dataclasses import asdict, fields
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from paidonce.app.clock import new_id
from paidonce.app.errors import NotFoundError
from paidonce.app.payments import store
from paidonce.app.payments.model import Payment, Refund
from paidonce.app.tables import refunds

_COLUMNS = [refunds.c[field.name] for field in fields(Refund)]


def add(tx: Connection, payment: Payment, amount: int, reason: str | None) -> Refund:
    """Write and return a new refund; the caller holds its payment's lock."""
    refund = Refund(
        id=new_id(),
        payment_id=payment.id,
        tenant=payment.tenant,
        amount=amount,
        reason=reason,
        created_at=payment.updated_at,
        updated_at=payment.updated_at,
    )
    tx.execute(insert(refunds).values(asdict(refund)))
    return refund


def get(tx: Connection, tenant: str, payment_id: UUID, refund_id: UUID) -> Refund | None:
    """Return a tenant's refund of that payment; None when there is none such."""
    where = (refunds.c.id == refund_id) & (refunds.c.payment_id == payment_id) & (refunds.c.tenant == tenant)
    row = tx.execute(select(*_COLUMNS).where(where)).mappings().first()
    return None if row is None else _refund(row)


def list_page(tx: Connection, tenant: str, payment_id: UUID, *, after: UUID | None, limit: int) -> list[Refund]:
    """Return up to `limit` refunds of a tenant's payment, newest first, that come after the refund `after`."""
    query = (
        select(*_COLUMNS)
        .where(refunds.c.payment_id == payment_id, refunds.c.tenant == tenant)
        .order_by(refunds.c.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(refunds.c.id < after)
    return [_refund(row) for row in tx.execute(query).mappings()]


def of_payment(tx: Connection, payment_id: UUID, *, most: int) -> list[Refund]:
    """Return up to `most` refunds of a payment, the oldest first."""
    query = select(*_COLUMNS).where(refunds.c.payment_id == payment_id).order_by(refunds.c.id).limit(most)
    return [_refund(row) for row in tx.execute(query).mappings()]


def payment_of(tx: Connection, refund_id: UUID) -> UUID | None:
    """Return the id of the payment that a refund is of; None when there is no such refund."""
    found: UUID | None = tx.scalar(select(refunds.c.payment_id).where(refunds.c.id == refund_id))
    return found


def reserved(tx: Connection, payment_id: UUID) -> int:
    """Return what all refunds that have not failed add up to, those nobody knows of included."""
    total = tx.scalar(
        select(func.coalesce(func.sum(refunds.c.amount), 0)).where(
            refunds.c.payment_id == payment_id, refunds.c.status != "failed"
        )
    )
    return int(total or 0)


def lock(tx: Connection, refund_id: UUID) -> tuple[Payment, Refund]:
    """Lock a refund's payment, and return both as they are under that lock.

    Raises NotFoundError when there is no such refund.
    """
    payment_id = payment_of(tx, refund_id)
    if payment_id is None:
        raise NotFoundError
    payment = store.lock(tx, payment_id)
    return payment, _refund(tx.execute(select(*_COLUMNS).where(refunds.c.id == refund_id)).mappings().one())


def save(tx: Connection, refund: Refund) -> None:
    """Write a refund that `lock` returned, changed."""
    values = asdict(refund)
    del values["id"], values["payment_id"], values["tenant"], values["created_at"]
    tx.execute(update(refunds).where(refunds.c.id == refund.id).values(values))


def _refund(row: RowMapping) -> Refund:
    return Refund(**{column.name: row[column.name] for column in _COLUMNS})
