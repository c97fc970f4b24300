"""Which messages wait? One that its handler put off, and every later one of its key, in order.

The partition goes on meanwhile (docs/design.md, "Inbox"). Only the first of a key is ever due, so
the key's order holds whoever works it off. Home of the table `parked`.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from paidonce.app.tables import parked


class Parked(NamedTuple):
    """A message that waits; `attempts` counts the handler's answers so far."""

    position: int
    message_id: str
    key: str
    envelope: dict[str, Any]
    value: bytes
    attempts: int


class Waiting(NamedTuple):
    """What is known of a message that waits, without its content; `next_attempt_at` counts once it is first."""

    consumer: str
    message_id: str
    attempts: int
    next_attempt_at: datetime
    created_at: datetime


# One array, whatever the number of keys: IN (…) is compiled, parsed and planned anew for each number.
WAITING = "SELECT DISTINCT key FROM parked WHERE consumer = %(consumer)s AND key <> '' AND key = ANY (%(keys)s::text[])"


def waiting(tx: Connection, consumer: str, keys: Collection[str]) -> set[str]:
    """Return those of `keys` that have a message waiting. A message without a key waits for nobody."""
    return set(tx.exec_driver_sql(WAITING, {"consumer": consumer, "keys": list(keys)}).scalars())


def park(
    tx: Connection,
    *,
    consumer: str,
    message_id: str,
    key: str,
    envelope: dict[str, Any],
    value: bytes,
    reason: str,
    delay: timedelta,
    attempts: int,
) -> None:
    """Put a message behind all that wait under its key; due after `delay` on the database's clock.

    It must not wait already: a consumer's message id is unique here.
    """
    tx.execute(
        insert(parked).values(
            consumer=consumer,
            message_id=message_id,
            key=key,
            envelope=envelope,
            value=value,
            reason=reason,
            attempts=attempts,
            next_attempt_at=func.now() + bindparam("delay", delay),
        )
    )


def due(tx: Connection, consumer: str) -> Parked | None:
    """Lock and return the oldest message that is due and first of its key; None when there is none.

    Those that another process is working on are left to it.
    """
    earlier = parked.alias("earlier")
    before = select(earlier.c.position).where(
        earlier.c.consumer == parked.c.consumer, earlier.c.key == parked.c.key, earlier.c.position < parked.c.position
    )
    row = tx.execute(
        select(*(parked.c[name] for name in Parked._fields))
        .where(
            parked.c.consumer == consumer,
            parked.c.next_attempt_at <= func.now(),
            or_(parked.c.key == "", ~before.exists()),
        )
        .order_by(parked.c.position)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    return Parked(*row) if row else None


def put_off(tx: Connection, position: int, *, delay: timedelta, reason: str) -> None:
    """Let the message wait for `delay` more."""
    tx.execute(
        update(parked)
        .where(parked.c.position == position)
        .values(attempts=parked.c.attempts + 1, reason=reason, next_attempt_at=func.now() + bindparam("delay", delay))
    )


def remove(tx: Connection, position: int) -> None:
    """Forget a message that was worked off; the next of its key is first now."""
    tx.execute(delete(parked).where(parked.c.position == position))


def of_key(tx: Connection, consumers: Collection[str], key: str, *, most: int) -> list[Waiting]:
    """Return up to `most` messages of a key that wait for any of `consumers`, in order."""
    found = select(*(parked.c[name] for name in Waiting._fields)).order_by(parked.c.position).limit(most)
    return [Waiting(*row) for row in tx.execute(found.where(parked.c.consumer.in_(consumers), parked.c.key == key))]


def count(tx: Connection, consumer: str) -> int:
    """Return how many messages of the consumer wait."""
    return tx.scalar(select(func.count()).select_from(parked).where(parked.c.consumer == consumer)) or 0


def oldest(tx: Connection) -> dict[str, tuple[int, timedelta]]:
    """Return consumer -> how many messages wait, and since how long the oldest of them does."""
    found = select(parked.c.consumer, func.count(), func.now() - func.min(parked.c.created_at))
    return {name: (count, age) for name, count, age in tx.execute(found.group_by(parked.c.consumer))}
