"""Which statements touch the table `idempotency`? All of them are here: this is its home.

The claim is also the first part of the statement that accepts a payment (app/payments/store.py).
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import AsyncConnection
from sqlalchemy import Connection, Delete, Select, Update, delete, func, select, update
from sqlalchemy import tuple_ as row

from paidonce.app.idempotency.fingerprint import HASH_VERSION
from paidonce.app.steps import step
from paidonce.app.tables import idempotency


@dataclass(frozen=True, slots=True)
class Claim:
    """Who asks for what under which key."""

    tenant: str
    #: method and route template: `POST /v1/payments`
    endpoint: str
    key: str
    request_hash: str
    #: how long the response is kept
    retention: timedelta


@dataclass(frozen=True, slots=True)
class Response:
    """What a request is answered, now and at every replay."""

    status: int
    body: bytes
    #: `Location` and `ETag`, in lower case
    headers: dict[str, str] = field(default_factory=dict)
    #: the payment or refund that it made
    resource_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The row that a claim ran into; `response` is None in a tombstone."""

    request_hash: str
    #: seconds since the key was claimed
    age_s: float
    expired: bool
    response: Response | None


def claim_sql(source: str) -> str:
    """Return the claim of each row of `source`, which has this table's columns; it returns the ids where it won."""
    # S1: the claim runs into the primary key, before any work; whoever gets no row back does none.
    # S4: the tenant is the first part of that key, so no tenant can meet another's row.
    return f"""
        INSERT INTO idempotency (tenant, endpoint, idem_key, request_hash, hash_version, response_status,
                                 response_headers, response_body, resource_id, expires_at)
        SELECT tenant, endpoint, idem_key, request_hash, {HASH_VERSION}, response_status,
               response_headers, convert_to(response_body, 'UTF8'), resource_id, now() + retention
          FROM {source}
        ON CONFLICT (tenant, endpoint, idem_key) DO NOTHING
        RETURNING resource_id
    """  # noqa: S608  composed of constants


#: A claim whose response is not known yet.
CLAIM = claim_sql("""(
    SELECT %(tenant)s::text AS tenant, %(endpoint)s::text AS endpoint, %(key)s::text AS idem_key,
           %(request_hash)s::text AS request_hash, %(retention)s::interval AS retention,
           NULL::smallint AS response_status, NULL::jsonb AS response_headers, NULL::text AS response_body,
           NULL::text AS resource_id
) AS wanted""")

#: The write makes this statement's own commit wait for a synchronous standby: a replay must not
#: show what a promotion would lose (docs/design.md, "Idempotent HTTP").
FIND = """
SELECT request_hash, extract(epoch FROM now() - created_at)::float8, expires_at <= now(),
       response_status, response_headers, response_body, resource_id,
       pg_logical_emit_message(true, 'paidonce.replay', '')
  FROM idempotency
 WHERE tenant = %(tenant)s AND endpoint = %(endpoint)s AND idem_key = %(key)s
"""

#: Every (tenant, endpoint) there is is looked up once, by the primary key: they are few, and the key is its last part.
BY_KEY = """
WITH RECURSIVE place AS (
    (SELECT tenant, endpoint FROM idempotency ORDER BY tenant, endpoint LIMIT 1)
     UNION ALL
    SELECT next.tenant, next.endpoint
      FROM place CROSS JOIN LATERAL (
           SELECT tenant, endpoint FROM idempotency
            WHERE (tenant, endpoint) > (place.tenant, place.endpoint)
            ORDER BY tenant, endpoint LIMIT 1) AS next
)
SELECT tenant, found.resource_id
  FROM place CROSS JOIN LATERAL (
       SELECT resource_id FROM idempotency
        WHERE tenant = place.tenant AND endpoint = place.endpoint AND idem_key = %(key)s AND resource_id IS NOT NULL
       ) AS found
 LIMIT %(most)s
"""


class Kept(NamedTuple):
    """A key that made or changed something, without what it was answered."""

    endpoint: str
    key: str
    resource_id: str
    created_at: datetime
    #: when its answer is over
    expires_at: datetime
    #: whether its answer is there still
    has_answer: bool


def take(tx: Connection, claim: Claim) -> bool:
    """Claim the key in the caller's transaction; False when it is taken. Waits on a claim that is not committed yet."""
    return tx.exec_driver_sql(CLAIM, asdict(claim)).first() is not None


def keep(tx: Connection, claim: Claim, response: Response) -> None:
    """Store the response beside the claim, in the same transaction."""
    tx.execute(
        update(idempotency)
        .where(
            idempotency.c.tenant == claim.tenant,
            idempotency.c.endpoint == claim.endpoint,
            idempotency.c.idem_key == claim.key,
        )
        .values(
            response_status=response.status,
            response_headers=response.headers,
            response_body=response.body,
            resource_id=response.resource_id,
        )
    )


@step("idempotency.find")
async def find(connection: AsyncConnection, claim: Claim) -> Found | None:
    """Return the committed row of a key that is taken; None when it has been swept since. `connection` autocommits."""
    cursor = await connection.execute(FIND, {"tenant": claim.tenant, "endpoint": claim.endpoint, "key": claim.key})
    found = await cursor.fetchone()
    if found is None:
        return None
    request_hash, age_s, expired, status, headers, body, resource_id, _ = found
    response = None if status is None else Response(status, bytes(body), headers, resource_id)
    return Found(request_hash, age_s, expired, response)


def of_resources(tx: Connection, tenant: str, resource_ids: Collection[str], *, most: int) -> list[Kept]:
    """Return up to `most` of a tenant's keys that made or changed one of these, the oldest first."""
    columns = (idempotency.c.endpoint, idempotency.c.idem_key, idempotency.c.resource_id, idempotency.c.created_at)
    found = (
        select(*columns, idempotency.c.expires_at, idempotency.c.response_status.is_not(None))
        .where(idempotency.c.resource_id.in_(resource_ids), idempotency.c.tenant == tenant)
        .order_by(idempotency.c.created_at)
        .limit(most)
    )
    return [Kept(*one) for one in tx.execute(found)]


def by_key(tx: Connection, key: str, *, most: int) -> list[tuple[str, str]]:
    """Return tenant and resource id for up to `most` uses of a key, whoever's it is."""
    return [(tenant, made) for tenant, made in tx.exec_driver_sql(BY_KEY, {"key": key, "most": most})]


def purge_expired(tx: Connection, *, most: int) -> int:
    """Turn up to `most` expired rows into tombstones; returns how many."""
    return _changed(
        tx,
        update(idempotency)
        .where(
            row(idempotency.c.tenant, idempotency.c.endpoint, idempotency.c.idem_key).in_(
                _keys()
                .where(idempotency.c.expires_at <= func.now(), idempotency.c.response_status.is_not(None))
                .limit(most)
                .with_for_update(skip_locked=True)
            )
        )
        .values(response_status=None, response_headers=None, response_body=None),
    )


def drop_tombstones(tx: Connection, *, older_than: timedelta, most: int) -> int:
    """Remove up to `most` tombstones that expired longer ago than `older_than`; returns how many."""
    return _changed(
        tx,
        delete(idempotency).where(
            row(idempotency.c.tenant, idempotency.c.endpoint, idempotency.c.idem_key).in_(
                _keys()
                .where(idempotency.c.expires_at <= func.now() - older_than)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
        ),
    )


def _keys() -> Select[tuple[str, str, str]]:
    return select(idempotency.c.tenant, idempotency.c.endpoint, idempotency.c.idem_key)


def _changed(tx: Connection, statement: Update | Delete) -> int:
    return tx.execute(statement).rowcount
