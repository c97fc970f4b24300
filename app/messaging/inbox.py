"""Has this consumer worked on this message before? The first claim of an id wins, once and for ever.

Our own message ids are UUIDv7 and live in daily partitions of `inbox`; every other id lives in
`inbox_foreign`. Which of the two an id belongs to changes with time, so every claim looks in both
(docs/design.md, "Inbox"). Home of the tables `inbox` and `inbox_foreign`.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, tuple_

from paidonce.app.messaging import partitions
from paidonce.app.tables import inbox, inbox_foreign

#: Rows that one sweep removes at most, so that its transaction stays short.
SWEEP_ROWS_MAX = 10_000

_CANONICAL_V7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

# Sorted, so that two consumers that claim the same ids wait for each other instead of deadlocking.
# S10: the key is (consumer, message id), never the place on the topic: a republished event is not new.
CLAIM_OURS = """
INSERT INTO inbox (consumer, message_id)
SELECT %(consumer)s, id
  FROM unnest(%(ids)s::uuid[]) AS id
 WHERE NOT EXISTS (SELECT FROM inbox_foreign WHERE consumer = %(consumer)s AND message_id = id::text)
 ORDER BY id
    ON CONFLICT DO NOTHING
RETURNING message_id::text
"""

CLAIM_FOREIGN = """
INSERT INTO inbox_foreign (consumer, message_id)
SELECT %(consumer)s, id
  FROM unnest(%(ids)s::text[]) AS id
 WHERE NOT EXISTS (SELECT FROM inbox WHERE consumer = %(consumer)s AND message_id = ANY (%(uuids)s::uuid[])
                                       AND message_id::text = id)
 ORDER BY id
    ON CONFLICT DO NOTHING
RETURNING message_id
"""


def claim(tx: Connection, consumer: str, message_ids: Sequence[str]) -> set[str]:
    """Claim the ids for `consumer` in the caller's transaction; return those that nobody had claimed.

    Waits for another transaction that is claiming one of them. An id is text of 1 to 255
    characters without NUL, and may appear more than once.
    """
    ours, foreign = _split(tx, sorted(set(message_ids)))
    new: set[str] = set()
    if ours:
        new.update(tx.exec_driver_sql(CLAIM_OURS, {"consumer": consumer, "ids": ours}).scalars())
    if foreign:
        uuids = [one for one in foreign if _CANONICAL_V7.fullmatch(one)]
        found = tx.exec_driver_sql(CLAIM_FOREIGN, {"consumer": consumer, "ids": foreign, "uuids": uuids})
        new.update(found.scalars())
    return new


def sweep_foreign(tx: Connection, older_than: timedelta) -> int:
    """Forget foreign ids that arrived longer ago than `older_than`; return how many, SWEEP_ROWS_MAX at most."""
    old = (
        select(inbox_foreign.c.consumer, inbox_foreign.c.message_id)
        .where(inbox_foreign.c.arrived_at < func.now() - older_than)
        .order_by(inbox_foreign.c.arrived_at)
        .limit(SWEEP_ROWS_MAX)
    )
    one = tuple_(inbox_foreign.c.consumer, inbox_foreign.c.message_id)
    return tx.execute(delete(inbox_foreign).where(one.in_(old))).rowcount


def count(tx: Connection, consumer: str) -> int:
    """Return how many messages `consumer` remembers, in both tables."""
    return sum(
        tx.scalar(select(func.count()).select_from(table).where(table.c.consumer == consumer)) or 0
        for table in (inbox, inbox_foreign)
    )


def _split(tx: Connection, message_ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the ids whose day has a partition from all others."""
    if not any(_CANONICAL_V7.fullmatch(one) for one in message_ids):
        return [], list(message_ids)
    days = {day for day, pending in partitions.attached(tx, "inbox").items() if not pending}
    ours: list[str] = []
    foreign: list[str] = []
    for one in message_ids:
        (ours if _CANONICAL_V7.fullmatch(one) and _day(UUID(one)) in days else foreign).append(one)
    return ours, foreign


def _day(message_id: UUID) -> date | None:
    """Return the UTC day in a UUIDv7; None when no calendar has it."""
    try:
        return datetime.fromtimestamp((message_id.int >> 80) / 1000, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
