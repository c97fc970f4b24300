"""Has this consumer worked on this message before? The first claim of an id wins, once and for ever.

Our own message ids are UUIDv7 and live in daily partitions of `inbox`; every other id lives in
`inbox_foreign`. Which of the two an id belongs to changes with time, so every claim looks in both
(docs/design.md, "Inbox"). Home of the tables `inbox` and `inbox_foreign`.
"""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, tuple_

from paidonce.app.messaging import partitions
from paidonce.app.tables import inbox, inbox_foreign

#: Day 0 of the time in a UUIDv7 (RFC 9562, section 5.7), which is in milliseconds.
EPOCH = date(1970, 1, 1)

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
 ORDER BY id
    ON CONFLICT DO NOTHING
RETURNING message_id
"""
#: An id of our form may have been claimed while its day had a partition. To plan this for every day costs more than
#: the claim, so it is asked only of such ids.
CLAIM_FOREIGN_OF_OUR_FORM = CLAIM_FOREIGN.replace(
    " ORDER BY",
    """ WHERE NOT EXISTS (SELECT FROM inbox WHERE consumer = %(consumer)s AND message_id = ANY (%(uuids)s::uuid[])
                                       AND message_id::text = id)
 ORDER BY""",
)

#: A claim that was under way when its day was looked at, and committed before the day was detached.
KEEP_YOUNG = """
INSERT INTO inbox_foreign (consumer, message_id, arrived_at)
SELECT consumer, message_id::text, arrived_at FROM {partition} WHERE arrived_at >= %(since)s
    ON CONFLICT DO NOTHING
"""

ARRIVALS = """
SELECT consumer, message_id::text, arrived_at FROM inbox
 WHERE consumer = ANY (%(consumers)s::text[]) AND message_id = ANY (%(ids)s::uuid[])
 UNION ALL
SELECT consumer, message_id, arrived_at FROM inbox_foreign
 WHERE consumer = ANY (%(consumers)s::text[]) AND message_id = ANY (%(ids)s::text[])
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
        claim_foreign = CLAIM_FOREIGN_OF_OUR_FORM if uuids else CLAIM_FOREIGN
        found = tx.exec_driver_sql(claim_foreign, {"consumer": consumer, "ids": foreign, "uuids": uuids})
        new.update(found.scalars())
    return new


def release(tx: Connection, consumer: str, message_id: str) -> None:
    """Take back what the caller's own transaction has claimed: what it names was not worked on."""
    if _CANONICAL_V7.fullmatch(message_id):
        tx.execute(delete(inbox).where(inbox.c.consumer == consumer, inbox.c.message_id == message_id))
    tx.execute(
        delete(inbox_foreign).where(inbox_foreign.c.consumer == consumer, inbox_foreign.c.message_id == message_id)
    )


def keep_young(tx: Connection, partition: str, since: datetime) -> int:
    """Keep, as foreign, the ids in a detached partition that arrived at `since` or later; return how many."""
    return tx.exec_driver_sql(KEEP_YOUNG.format(partition=partition), {"since": since}).rowcount


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


def arrivals(
    tx: Connection, consumers: Collection[str], message_ids: Collection[UUID]
) -> dict[tuple[str, UUID], datetime]:
    """Return when each of `consumers` claimed each of our own messages, by (consumer, message id)."""
    wanted = {"consumers": list(consumers), "ids": [str(one) for one in message_ids]}
    return {(consumer, UUID(id_)): at for consumer, id_, at in tx.exec_driver_sql(ARRIVALS, wanted)}


def _split(tx: Connection, message_ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the ids whose day has a partition from all others."""
    if not any(_CANONICAL_V7.fullmatch(one) for one in message_ids):
        return [], list(message_ids)
    ours = _ours(tx, message_ids)
    if any(_CANONICAL_V7.fullmatch(one) for one in message_ids if one not in ours):
        # Were its day attached meanwhile, another could claim the id there before ours is to be seen here.
        partitions.hold_inbox_days(tx)
        ours = _ours(tx, message_ids)
    return [one for one in message_ids if one in ours], [one for one in message_ids if one not in ours]


def _ours(tx: Connection, message_ids: Sequence[str]) -> set[str]:
    """Return those whose day has a partition now."""
    days = {one: day for one in message_ids if _CANONICAL_V7.fullmatch(one) and (day := _day(one))}
    taking = partitions.taking(tx, "inbox", set(days.values()))
    return {one for one, day in days.items() if day in taking}


def _day(message_id: str) -> date | None:
    """Return the UTC day in a UUIDv7's first 48 bits; None: it lies beyond the calendar."""
    with suppress(OverflowError):
        return EPOCH + timedelta(milliseconds=int(message_id[:8] + message_id[9:13], 16))
    return None
