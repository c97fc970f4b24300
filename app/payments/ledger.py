"""Who owes whom? Double entry per tenant and currency; the lines of each transaction sum to zero.

Amounts are signed minor units, a debit positive. PostgreSQL refuses at COMMIT a transaction whose
lines do not sum to zero (docs/design.md, "Payments and refunds"). Home of the table `ledger_entries`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, select

from paidonce.app.clock import new_id
from paidonce.app.tables import ledger_entries

Account = Literal["provider_receivable", "merchant_payable"]
Kind = Literal["capture", "refund"]

#: kind -> the account that is debited and the one that is credited
SIDES: dict[Kind, tuple[Account, Account]] = {
    "capture": ("provider_receivable", "merchant_payable"),
    "refund": ("merchant_payable", "provider_receivable"),
}

# One statement for a whole batch; both lines of a transaction are in it.
RECORD = """
INSERT INTO ledger_entries (transaction_id, account, tenant, currency, amount, kind, payment_id)
SELECT id, account, tenant, currency, sign * amount, kind, payment_id
  FROM unnest(%(ids)s::uuid[], %(debits)s::text[], %(credits)s::text[], %(tenants)s::text[], %(currencies)s::text[],
              %(amounts)s::bigint[], %(kinds)s::text[], %(payments)s::uuid[])
       AS movement (id, debit, credit, tenant, currency, amount, kind, payment_id)
 CROSS JOIN LATERAL (VALUES (debit, 1), (credit, -1)) AS line (account, sign)
"""


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that moved: one transaction of two lines. `amount` is positive, in minor units."""

    kind: Kind
    tenant: str
    #: ISO 4217
    currency: str
    amount: int
    payment_id: UUID


class Total(NamedTuple):
    """What one account of one tenant adds up to, and over how many lines."""

    tenant: str
    currency: str
    account: Account
    amount: int
    lines: int


class Booked(NamedTuple):
    """One transaction of the books, as its debit shows it; `amount` is positive, in minor units."""

    transaction_id: UUID
    kind: Kind
    debit: Account
    credit: Account
    amount: int
    currency: str
    created_at: datetime


def record(tx: Connection, movements: Sequence[Movement]) -> None:
    """Write the movements, each as a transaction of its own."""
    if not movements:
        return
    parameters = {
        "ids": [new_id() for _ in movements],
        "debits": [SIDES[one.kind][0] for one in movements],
        "credits": [SIDES[one.kind][1] for one in movements],
        "tenants": [one.tenant for one in movements],
        "currencies": [one.currency for one in movements],
        "amounts": [one.amount for one in movements],
        "kinds": [one.kind for one in movements],
        "payments": [one.payment_id for one in movements],
    }
    tx.exec_driver_sql(RECORD, parameters)


def totals(tx: Connection) -> list[Total]:
    """Return every account's sum; over the accounts of one tenant and currency they add up to zero."""
    of = (ledger_entries.c.tenant, ledger_entries.c.currency, ledger_entries.c.account)
    found = tx.execute(select(*of, func.sum(ledger_entries.c.amount), func.count()).group_by(*of).order_by(*of))
    return [Total(tenant, currency, account, int(amount), lines) for tenant, currency, account, amount, lines in found]


def of_payment(tx: Connection, payment_id: UUID, *, most: int) -> list[Booked]:
    """Return up to `most` transactions of a payment, in order."""
    of = (ledger_entries.c.payment_id == payment_id, ledger_entries.c.amount > 0)
    names = ("transaction_id", "kind", "account", "amount", "currency", "created_at")
    order = (ledger_entries.c.created_at, ledger_entries.c.transaction_id)
    found = tx.execute(select(*(ledger_entries.c[name] for name in names)).where(*of).order_by(*order).limit(most))
    return [Booked(id_, kind, debit, SIDES[kind][1], amount, *rest) for id_, kind, debit, amount, *rest in found]
