"""For which consumers are events kept, and has one of them got every event of a day?

A consumer counts from the moment at which the cleaner first found it among those that have held a
partition; what was published before is not held against it. It counts until somebody says that it
is gone (docs/design.md, "Retention"). Home of the table `readers`.
"""

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.messaging import partitions
from paidonce.app.tables import readers

#: Days by which an event's id may lie beside its row's `created_at`: the two are drawn at different moments.
ID_BESIDE_D = 1

# In two parts: the ids of about that day meet few partitions of the inbox, sorted as both indexes are; the others
# (drawn by a writer that is not ours) are looked up one by one.
MISSED = """
SELECT id, created_at FROM (
    (SELECT id, created_at FROM {partition} AS event
      WHERE aggregatetype = %(about)s AND created_at >= %(since)s AND id >= %(first)s AND id < %(end)s
        AND NOT EXISTS (SELECT FROM inbox WHERE consumer = %(consumer)s AND message_id >= %(first)s
                           AND message_id < %(end)s AND message_id = event.id)
        AND NOT EXISTS (SELECT FROM inbox_foreign WHERE consumer = %(consumer)s AND message_id = event.id::text)
      ORDER BY id LIMIT 1)
    UNION ALL
    (SELECT id, created_at FROM {partition} AS event
      WHERE aggregatetype = %(about)s AND created_at >= %(since)s AND (id < %(first)s OR id >= %(end)s)
        AND NOT EXISTS (SELECT FROM inbox WHERE consumer = %(consumer)s AND message_id = event.id)
        AND NOT EXISTS (SELECT FROM inbox_foreign WHERE consumer = %(consumer)s AND message_id = event.id::text)
      LIMIT 1)
) AS missed LIMIT 1
"""


class Missed(NamedTuple):
    """An event that a consumer never got."""

    id: UUID
    created_at: datetime


def note(tx: Connection, topic: str, consumers: Collection[str]) -> None:
    """Count on `consumers` from now on, those that do not count yet."""
    if consumers:
        rows = [{"consumer": one, "topic": topic} for one in sorted(consumers)]
        tx.execute(insert(readers).values(rows).on_conflict_do_nothing())


def known(tx: Connection, topic: str) -> dict[str, datetime]:
    """Return who counts, and since when."""
    found = select(readers.c.consumer, readers.c.since).where(readers.c.topic == topic).order_by(readers.c.consumer)
    return {row.consumer: row.since for row in tx.execute(found)}


def topics(tx: Connection, first: str) -> dict[str, str]:
    """Return consumer -> topic for all who count on any; who counts on `first` counts there."""
    found = tx.execute(select(readers.c.consumer, readers.c.topic))
    return dict(sorted((tuple(row) for row in found), key=lambda one: (one[1] == first, one)))


def forget(tx: Connection, topic: str, consumer: str) -> None:
    """Count on `consumer` no longer."""
    tx.execute(delete(readers).where(readers.c.topic == topic, readers.c.consumer == consumer))


def missed(tx: Connection, consumer: str, day: date, *, about: str, since: datetime) -> Missed | None:
    """Return an event of that day of the outbox which `consumer` never got; None when it has them all.

    Only events about `about` (an aggregate type) from `since` on count.
    """
    beside = timedelta(days=ID_BESIDE_D)
    bounds = {
        "first": partitions.uuid_floor(partitions.midnight(day - beside)),
        "end": partitions.uuid_floor(partitions.midnight(day + beside + timedelta(days=1))),
    }
    statement = MISSED.format(partition=partitions.name_of("outbox", day))
    row = tx.exec_driver_sql(statement, {"consumer": consumer, "about": about, "since": since} | bounds).one_or_none()
    return Missed(*row) if row else None
