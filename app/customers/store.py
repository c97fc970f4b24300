"""Which statements touch the table `customers`? All of them are here: this is its home.

Its one reader elsewhere is the statement that accepts a payment (app/payments/store.py). A
customer that is deleted is gone, row and all: payments keep the id, which is the merchant's own.
"""

from collections.abc import Callable
from dataclasses import asdict, fields

from sqlalchemy import ColumnElement, Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.customers.model import Customer, CustomerDraft
from paidonce.app.errors import NotFoundError, RequestInProgressError
from paidonce.app.tables import customers

_COLUMNS = [customers.c[field.name] for field in fields(Customer)]
#: An upsert that loses to a parallel one finds its row, unless that is deleted in parallel too; not so often.
UPSERTS_MAX = 3

#: Raises when the caller's precondition does not hold for what is there, None where nothing is.
Check = Callable[[Customer | None], None]


def get(tx: Connection, tenant: str, customer_id: str) -> Customer | None:
    """Return a tenant's customer."""
    row = tx.execute(select(*_COLUMNS).where(_is(tenant, customer_id))).mappings().first()
    return None if row is None else Customer(**row)


def put(tx: Connection, tenant: str, customer_id: str, draft: CustomerDraft, check: Check) -> tuple[Customer, bool]:
    """Return the customer as `draft` says, and whether it is new; the same again writes nothing.

    Raises:
        RequestInProgressError: the customer was made and deleted by others all the while.
        PaidonceError: what `check` raises.
    """
    for _ in range(UPSERTS_MAX):
        found = _locked(tx, tenant, customer_id)
        check(found)
        if found is not None:
            return _written(tx, tenant, found, draft), False
        statement = insert(customers).values(tenant=tenant, id=customer_id, **asdict(draft))
        new = tx.execute(statement.on_conflict_do_nothing().returning(*_COLUMNS)).mappings().first()
        if new is not None:
            return Customer(**new), True
    raise RequestInProgressError


def change(tx: Connection, tenant: str, customer_id: str, decide: Callable[[Customer], CustomerDraft]) -> Customer:
    """Lock a customer and write what `decide` makes of it; raises NotFoundError, and what `decide` raises."""
    found = _locked(tx, tenant, customer_id)
    if found is None:
        raise NotFoundError
    return _written(tx, tenant, found, decide(found))


def remove(tx: Connection, tenant: str, customer_id: str, check: Check) -> None:
    """Delete a customer, if it is there; raises what `check` raises."""
    check(_locked(tx, tenant, customer_id))
    tx.execute(delete(customers).where(_is(tenant, customer_id)))


def _written(tx: Connection, tenant: str, customer: Customer, draft: CustomerDraft) -> Customer:
    if customer.is_as(draft):
        return customer
    statement = update(customers).where(_is(tenant, customer.id)).values(**asdict(draft), updated_at=func.now())
    return Customer(**tx.execute(statement.returning(*_COLUMNS)).mappings().one())


def _locked(tx: Connection, tenant: str, customer_id: str) -> Customer | None:
    row = tx.execute(select(*_COLUMNS).where(_is(tenant, customer_id)).with_for_update()).mappings().first()
    return None if row is None else Customer(**row)


def _is(tenant: str, customer_id: str) -> ColumnElement[bool]:
    return (customers.c.tenant == tenant) & (customers.c.id == customer_id)
