"""Which statements touch the table `payments`? All of them are here: this is its home.

ACCEPT is the hot one: a payment, its Idempotency-Key and its first event in one statement, which
is one transaction (docs/design.md, "Idempotent HTTP"). Every later change is `lock`, decide, `save`.
"""

from dataclasses import asdict, dataclass, fields, replace
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, RowMapping, func, select, update

from paidonce.app.errors import NotFoundError
from paidonce.app.idempotency.store import Claim, Response, claim_parameters, claim_sql
from paidonce.app.messaging.envelope import Event
from paidonce.app.payments.model import Payment
from paidonce.app.steps import step
from paidonce.app.tables import payments

_COLUMNS = [payments.c[field.name] for field in fields(Payment)]

# S2: claim, payment, event and stored response are one statement, so one transaction.
ACCEPT = f"""
WITH customer AS (
    SELECT %(customer_id)s::text IS NULL
           OR EXISTS (SELECT FROM customers WHERE tenant = %(tenant)s AND id = %(customer_id)s) AS known
), claim AS (
    {claim_sql("FROM customer WHERE known")}
), payment AS (
    INSERT INTO payments (id, tenant, status, amount, currency, payment_method, customer_id, reference,
                          description, metadata, version, created_at, updated_at)
    SELECT %(id)s, %(tenant)s, 'pending', %(amount)s, %(currency)s, %(payment_method)s, %(customer_id)s,
           %(reference)s, %(description)s, %(metadata)s::jsonb, 1, %(created_at)s, %(created_at)s
      FROM claim
), event AS (
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers)
    SELECT %(event_id)s, %(aggregatetype)s, %(aggregateid)s, %(type)s, %(sequence)s, %(payload)s, %(headers)s::jsonb
      FROM claim
)
SELECT EXISTS (SELECT FROM claim), (SELECT known FROM customer)
"""  # noqa: S608  composed of constants


@dataclass(frozen=True, slots=True)
class Accepted:
    """What ACCEPT did."""

    #: False: the key is taken, and nothing was written
    claimed: bool
    #: False: there is no such customer, and nothing was written
    customer_known: bool


@step("payments.accept")
async def accept(
    connection: AsyncConnection,
    payment: Payment,
    *,
    event: Event,
    claim: Claim,
    response: Response,
    lock_wait_ms: int | None,
) -> Accepted:
    """Write a new payment under its key; commits, for `connection` autocommits.

    `lock_wait_ms` replaces the connection's own lock time-out where it is not None.
    """
    parameters = claim_parameters(claim, response) | {
        "id": payment.id,
        "amount": payment.amount,
        "currency": payment.currency,
        "payment_method": payment.payment_method,
        "customer_id": payment.customer_id,
        "reference": payment.reference,
        "description": payment.description,
        "metadata": Jsonb(payment.metadata),
        "created_at": payment.created_at,
        "event_id": event.id,
        "aggregatetype": event.aggregatetype,
        "aggregateid": event.aggregateid,
        "type": event.type,
        "sequence": event.sequence,
        "payload": event.payload,
        "headers": Jsonb(event.headers),
    }
    if lock_wait_ms is None:
        cursor = await connection.execute(ACCEPT, parameters)
        row = await cursor.fetchone()
    else:
        async with connection.transaction():
            await connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{lock_wait_ms}ms"])
            cursor = await connection.execute(ACCEPT, parameters)
            row = await cursor.fetchone()
    assert row is not None
    return Accepted(*row)


def get(tx: Connection, tenant: str, payment_id: UUID) -> Payment | None:
    """Return a tenant's payment; None also when it is another tenant's."""
    where = (payments.c.id == payment_id) & (payments.c.tenant == tenant)
    row = tx.execute(select(*_COLUMNS).where(where)).mappings().first()
    return None if row is None else _payment(row)


def list_page(
    tx: Connection,
    tenant: str,
    *,
    status: str | None,
    customer_id: str | None,
    after: UUID | None,
    limit: int,
) -> list[Payment]:
    """Return up to `limit` of the tenant's payments, newest first, that come after the payment `after`."""
    query = select(*_COLUMNS).where(payments.c.tenant == tenant).order_by(payments.c.id.desc()).limit(limit)
    if status is not None:
        query = query.where(payments.c.status == status)
    if customer_id is not None:
        query = query.where(payments.c.customer_id == customer_id)
    if after is not None:
        query = query.where(payments.c.id < after)
    return [_payment(row) for row in tx.execute(query).mappings()]


def lock(tx: Connection, payment_id: UUID, tenant: str | None = None) -> Payment:
    """Lock a payment and return it as it is under the lock; its `updated_at` is that of the transaction.

    Raises NotFoundError when there is none, or when it is not the `tenant`'s (None: of any).
    """
    query = select(*_COLUMNS[:-1], func.now().label("updated_at")).where(payments.c.id == payment_id)
    if tenant is not None:
        query = query.where(payments.c.tenant == tenant)
    # S16: the state that decides is the one under the row's lock, never one read before.
    row = tx.execute(query.with_for_update()).mappings().first()
    if row is None:
        raise NotFoundError
    return _payment(row)


def save(tx: Connection, payment: Payment) -> Payment:
    """Write a payment that `lock` returned, changed, and return it with its new version."""
    saved = replace(payment, version=payment.version + 1)
    values = asdict(saved)
    del values["id"], values["tenant"], values["created_at"]
    tx.execute(update(payments).where(payments.c.id == payment.id).values(values))
    return saved


def _payment(row: RowMapping) -> Payment:
    return Payment(**{column.name: row[column.name] for column in _COLUMNS})
