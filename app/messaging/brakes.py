"""Which consumers stand still because most of what arrived was poison? A row while one does, for every member.

Home of the table `brakes` (docs/design.md, "Inbox").
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.tables import brakes


class Engaged(NamedTuple):
    """One consumer that stands still."""

    consumer: str
    reason: str
    engaged_at: datetime


def engage(tx: Connection, consumer: str, reason: str) -> None:
    """Stop every member of the consumer until `release`; the first reason stays."""
    tx.execute(insert(brakes).values(consumer=consumer, reason=reason).on_conflict_do_nothing())


def engaged(tx: Connection, consumer: str) -> str | None:
    """Return why the consumer stands still; None when it does not."""
    reason: str | None = tx.scalar(select(brakes.c.reason).where(brakes.c.consumer == consumer))
    return reason


def all_engaged(tx: Connection) -> list[Engaged]:
    """Return every consumer that stands still."""
    columns = (brakes.c[name] for name in Engaged._fields)
    return [Engaged(*row) for row in tx.execute(select(*columns).order_by(brakes.c.consumer))]


def release(tx: Connection, consumer: str, *, since: datetime | None = None) -> bool:
    """Let the consumer go; False when it was not stopped, or not `since` then."""
    statement = delete(brakes).where(brakes.c.consumer == consumer)
    if since is not None:
        statement = statement.where(brakes.c.engaged_at == since)
    return tx.execute(statement).rowcount == 1
