"""What do the tables say? Read-only, by named statements.

The one place outside the tables' homes that reads them: a witness does not ask the code that
it is to judge.
"""

from collections.abc import Collection
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row

from paidonce.chaos.facts import EffectLine, EffectRow, EventRow, LedgerLine, PaymentRow, RefundRow, Wait, WindowRow

Row = TypeVar("Row")

PAYMENTS = """
SELECT id::text, tenant, reference AS subject, status, amount, currency, amount_refunded, provider_charge_id
  FROM payments ORDER BY id
"""
REFUNDS = "SELECT id::text, payment_id::text, tenant, reason AS subject, status, amount FROM refunds ORDER BY id"
LEDGER = """
SELECT transaction_id::text, account, tenant, currency, amount, kind, payment_id::text
  FROM ledger_entries ORDER BY created_at, transaction_id, account
"""
#: One that is unknown is claimed for each look-up, and no better known meanwhile.
EFFECTS = """
SELECT kind, subject, tenant, attempts,
       CASE WHEN state = 'running' AND open_attempt THEN 'unknown' ELSE state END AS state
  FROM effects ORDER BY created_at, id
"""
EFFECT_HISTORY = """
SELECT kind, subject, event, effect_history.state, effect_history.claim_token::text AS token
  FROM effect_history JOIN effects ON effects.id = effect_id ORDER BY effect_history.id
"""
WINDOWS = """
SELECT shard, number, epoch, s1::text, s2::text, lo, hi FROM relay_windows ORDER BY shard, number
"""
EVENTS = """
SELECT id::text, convert_from(payload, 'UTF8')::jsonb ->> 'tenant' AS tenant, aggregateid AS key, type, sequence
  FROM outbox ORDER BY position
"""
#: An event's row has the time of the change that it tells of; one that is published again is older than its new row.
WAITS = """
SELECT 'payment' AS what, asked.aggregateid AS subject, extract(epoch FROM min(asked.created_at))::float8 AS began,
       extract(epoch FROM min(ended.created_at))::float8 AS ended
  FROM outbox AS asked JOIN outbox AS ended USING (aggregateid)
 WHERE asked.type = 'payment.accepted' AND ended.type IN ('payment.captured', 'payment.declined', 'payment.canceled')
 GROUP BY asked.aggregateid
UNION ALL
SELECT 'refund', id::text, extract(epoch FROM created_at)::float8, extract(epoch FROM updated_at)::float8
  FROM refunds WHERE status IN ('succeeded', 'failed')
UNION ALL
SELECT kind || ' call', subject, extract(epoch FROM min(at))::float8, extract(epoch FROM max(at))::float8
  FROM effect_history JOIN effects ON effects.id = effect_id
 WHERE effects.state IN ('done', 'refused') GROUP BY kind, subject
UNION ALL
SELECT 'event', id::text, extract(epoch FROM min(created_at))::float8, extract(epoch FROM max(arrived_at))::float8
  FROM outbox JOIN inbox ON message_id = id GROUP BY id
"""
PARKED = "SELECT consumer || ' ' || message_id || ' ' || reason FROM parked ORDER BY position"
#: What a person has discarded is decided, and not left open: the operator of an atlas does so.
DEAD_LETTERS = """
SELECT consumer || ' ' || message_id || ' ' || reason FROM dead_letters WHERE state <> 'discarded' ORDER BY id
"""

UNKNOWN = """
SELECT count(*) FROM effects WHERE state IN ('unknown', 'running') AND open_attempt AND kind = ANY(%(left_unknown)s)
"""
#: Consumer by consumer, what has no row in the inbox.
UNSEEN = """
  FROM outbox CROSS JOIN unnest(ARRAY['charges', 'ledger', 'notifications']) AS name
 WHERE NOT EXISTS (SELECT FROM inbox WHERE consumer = name AND message_id = outbox.id)
"""
UNHANDLED = f"SELECT DISTINCT name || ' ' || id || ' ' || type {UNSEEN} ORDER BY 1"

#: What is not finished yet, and how much of it; no row when everything is.
UNFINISHED = f"""
WITH left_unknown AS (
    SELECT id, kind, subject FROM effects
     WHERE state IN ('unknown', 'running') AND open_attempt AND kind = ANY(%(left_unknown)s)
)
SELECT 'payments ' || status AS what, count(*) FROM payments
 WHERE status IN ('pending', 'charging')
   AND NOT EXISTS (SELECT FROM left_unknown WHERE kind = 'charge' AND subject = payments.id::text) GROUP BY status
UNION ALL
SELECT 'refunds ' || status, count(*) FROM refunds
 WHERE status IN ('pending', 'refunding')
   AND NOT EXISTS (SELECT FROM left_unknown WHERE kind = 'refund' AND subject = refunds.id::text) GROUP BY status
UNION ALL
SELECT kind || ' calls ' || state, count(*) FROM effects
 WHERE state IN ('pending', 'running', 'unknown') AND id NOT IN (SELECT id FROM left_unknown) GROUP BY kind, state
UNION ALL
SELECT 'messages put aside by ' || consumer, count(*) FROM parked GROUP BY consumer
UNION ALL
SELECT 'events not yet seen by ' || name, count(*) {UNSEEN} GROUP BY name
ORDER BY 1
"""  # noqa: S608  our own text


def connect(dsn: str) -> psycopg.Connection[Any]:
    """Return a connection that cannot write."""
    connection = psycopg.connect(dsn, autocommit=True, connect_timeout=5)
    # Not before: to a DSN with target_session_attrs=read-write such a session would look like a standby's.
    connection.execute("SET default_transaction_read_only = on")
    return connection


def unfinished(connection: psycopg.Connection[Any], left_unknown: Collection[str] = ()) -> dict[str, int]:
    """Return what is not finished yet, and how much of it; but for unknown effects of the kinds `left_unknown`."""
    return dict(connection.execute(UNFINISHED, {"left_unknown": [*left_unknown]}).fetchall())


def unknown(connection: psycopg.Connection[Any], kinds: Collection[str]) -> int:
    """Return how many effects of these kinds are unknown."""
    row = connection.execute(UNKNOWN, {"left_unknown": [*kinds]}).fetchone()
    return int(row[0]) if row else 0


def tables(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return the members of `Facts` that the tables know, all as of one moment."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return _tables(connection)


def _tables(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    return {
        "payments": _rows(connection, PaymentRow, PAYMENTS),
        "refunds": _rows(connection, RefundRow, REFUNDS),
        "ledger": _rows(connection, LedgerLine, LEDGER),
        "effects": _rows(connection, EffectRow, EFFECTS),
        "effect_history": _rows(connection, EffectLine, EFFECT_HISTORY),
        "windows": _rows(connection, WindowRow, WINDOWS),
        "events": _rows(connection, EventRow, EVENTS),
        "waits": _rows(connection, Wait, WAITS),
        "parked": [line for (line,) in connection.execute(PARKED)],
        "dead_letters": [line for (line,) in connection.execute(DEAD_LETTERS)],
        "unhandled": [line for (line,) in connection.execute(UNHANDLED)],
    }


def _rows(connection: psycopg.Connection[Any], row: type[Row], statement: str) -> list[Row]:
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(statement).fetchall()
