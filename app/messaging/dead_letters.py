"""Which messages could nobody work on? Each is kept whole, once for each consumer.

Redrive and discard run from these rows (docs/design.md, "Inbox"). Home of the table `dead_letters`.
"""

from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.tables import dead_letters

#: Characters of a reason that are kept: enough for an exception's message, too little for a payload.
REASON_CHARS_MAX = 2_000


def add(
    tx: Connection,
    *,
    consumer: str,
    message_id: str,
    key: str | None,
    envelope: dict[str, Any],
    value: bytes | None,
    reason: str,
) -> bool:
    """Keep the message; False when this consumer has it already."""
    kept = reason.replace("\0", "")[:REASON_CHARS_MAX]
    found = tx.execute(
        insert(dead_letters)
        .values(consumer=consumer, message_id=message_id, key=key, envelope=envelope, value=value, reason=kept)
        .on_conflict_do_nothing()
    )
    return found.rowcount == 1


def count(tx: Connection) -> int:
    """Return how many dead letters wait for somebody's decision."""
    return tx.scalar(select(func.count()).where(dead_letters.c.state == "dead")) or 0
