"""Which statements touch the table `payments`? All of them are here: this is its home.

ACCEPT is the hot one: a payment, its Idempotency-Key and its first event in one statement, which
is one transaction (docs/design.md, "Idempotent HTTP"). Every later change is `lock`, decide, `save`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from sqlalchemy import Connection, RowMapping, func, insert, select, update

from paidonce.app.errors import NotFoundError
from paidonce.app.idempotency.store import Claim, Response, claim_sql
from paidonce.app.messaging.envelope import Event
from paidonce.app.payments.model import Payment
from paidonce.app.steps import step
from paidonce.app.tables import payments

_COLUMNS = [payments.c[field.name] for field in fields(Payment)]

#: The columns that a request to be accepted has, as one JSON array of objects: one parameter, any number of rows.
WANTED = """
json_to_recordset(%(rows)s::json) AS wanted (
    tenant text, endpoint text, idem_key text, request_hash text, retention interval, response_status smallint,
    response_headers jsonb, response_body text, resource_id text, amount bigint, currency text, payment_method text,
    customer_id text, reference text, description text, metadata jsonb, created_at timestamptz,
    event_id uuid, aggregatetype text, aggregateid text, type text, sequence bigint, payload text, headers jsonb
)"""

# S2: claim, payment, event and stored response are one statement, so one transaction.
ACCEPT = f"""
WITH wanted AS MATERIALIZED (
    SELECT wanted.*, customer_id IS NULL OR EXISTS (
               SELECT FROM customers WHERE customers.tenant = wanted.tenant AND customers.id = wanted.customer_id
           ) AS customer_known
      FROM {WANTED}
), claim AS (
    {claim_sql("(SELECT * FROM wanted WHERE customer_known ORDER BY tenant, endpoint, idem_key) AS wanted")}
), accepted AS (
    SELECT wanted.* FROM wanted JOIN claim USING (resource_id)
), payment AS (
    INSERT INTO payments (id, tenant, status, amount, currency, payment_method, customer_id, reference,
                          description, metadata, version, created_at, updated_at)
    SELECT resource_id::uuid, tenant, 'pending', amount, currency, payment_method, customer_id, reference,
           description, metadata, 1, created_at, created_at
      FROM accepted
), event AS (
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers)
    SELECT event_id, aggregatetype, aggregateid, type, sequence, convert_to(payload, 'UTF8'), headers
      FROM accepted
)
SELECT resource_id, resource_id IN (SELECT resource_id FROM claim), customer_known FROM wanted
"""  # noqa: S608  composed of constants


@dataclass(frozen=True, slots=True)
class Wanted:
    """A new payment with all that is to be written with it."""

    payment: Payment
    event: Event
    claim: Claim
    response: Response


@dataclass(frozen=True, slots=True)
class Accepted:
    """What ACCEPT did with one of them."""

    #: False: the key is taken, and nothing was written
    claimed: bool
    #: False: there is no such customer, and nothing was written
    customer_known: bool


@step("payments.accept")
async def accept(
    connection: AsyncConnection, wanted: Sequence[Wanted], *, lock_wait_ms: int | None = None
) -> dict[UUID, Accepted]:
    """Write new payments, each under its key; commits, for `connection` autocommits. Returns by the payments' ids.

    Claims in the order of the keys, so that two of these never wait for each other in a circle.
    `lock_wait_ms` replaces the connection's own lock time-out where it is not None.
    """
    rows = {"rows": orjson.dumps([_row(one) for one in wanted]).decode()}
    if lock_wait_ms is None:
        cursor = await connection.execute(ACCEPT, rows)
    else:
        async with connection.transaction():
            await connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{lock_wait_ms}ms"])
            cursor = await connection.execute(ACCEPT, rows)
    return {UUID(id_): Accepted(claimed, known) for id_, claimed, known in await cursor.fetchall()}


def _row(wanted: Wanted) -> dict[str, object]:
    payment, event, claim, response = wanted.payment, wanted.event, wanted.claim, wanted.response
    return {
        "tenant": claim.tenant,
        "endpoint": claim.endpoint,
        "idem_key": claim.key,
        "request_hash": claim.request_hash,
        "retention": f"{int(claim.retention.total_seconds())} seconds",
        "response_status": response.status,
        "response_headers": response.headers,
        "response_body": response.body.decode(),
        "resource_id": response.resource_id,
        "amount": payment.amount,
        "currency": payment.currency,
        "payment_method": payment.payment_method,
        "customer_id": payment.customer_id,
        "reference": payment.reference,
        "description": payment.description,
        "metadata": payment.metadata,
        "created_at": payment.created_at,
        "event_id": event.id,
        "aggregatetype": event.aggregatetype,
        "aggregateid": event.aggregateid,
        "type": event.type,
        "sequence": event.sequence,
        "payload": event.payload.decode(),
        "headers": event.headers,
    }


def add(tx: Connection, payment: Payment) -> None:
    """Write a new payment under a claim that the caller's transaction has made; its event is the caller's too."""
    tx.execute(insert(payments).values(asdict(payment)))


def get(tx: Connection, tenant: str, payment_id: UUID) -> Payment | None:
    """Return a tenant's payment; None also when it is another tenant's."""
    where = (payments.c.id == payment_id) & (payments.c.tenant == tenant)
    row = tx.execute(select(*_COLUMNS).where(where)).mappings().first()
    return None if row is None else _payment(row)


def get_any(tx: Connection, payment_id: UUID) -> Payment | None:
    """Return a payment, whosever it is: for an operator of the installation, never for a caller of the API."""
    row = tx.execute(select(*_COLUMNS).where(payments.c.id == payment_id)).mappings().first()
    return None if row is None else _payment(row)


def by_reference(tx: Connection, reference: str, *, most: int) -> list[Payment]:
    """Return up to `most` payments with this reference, the newest first, whosever they are: as `get_any`."""
    query = select(*_COLUMNS).where(payments.c.reference == reference).order_by(payments.c.id.desc()).limit(most)
    return [_payment(row) for row in tx.execute(query).mappings()]


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
