"""Which messages could nobody work on? Each is kept whole, once for each consumer, until somebody decides.

A letter is `dead`; a redrive makes it `redriven`, and its work then `done`, or `dead` again with
the new reason; a discard makes it `discarded` (docs/design.md, "Dead letters"). Home of the table
`dead_letters`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.tables import dead_letters

State = Literal["dead", "redriven", "done", "discarded"]

#: Characters of a reason that are kept: enough for an exception's message, too little for a payload.
REASON_CHARS_MAX = 2_000


class DeadLetter(NamedTuple):
    """One letter without its value; `age` is the time since it was first dead, on the database's clock."""

    id: int
    consumer: str
    message_id: str
    key: str | None
    state: State
    reason: str
    redrives: int
    envelope: dict[str, Any]
    created_at: datetime
    settled_at: datetime | None
    age: timedelta


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
    """Keep the message; one that was redriven is dead again, for `reason`. False when it lies here already."""
    kept = reason.replace("\0", "")[:REASON_CHARS_MAX]
    statement = insert(dead_letters).values(
        consumer=consumer, message_id=message_id, key=key, envelope=envelope, value=value, reason=kept
    )
    found = tx.execute(
        statement.on_conflict_do_update(
            index_elements=[dead_letters.c.consumer, dead_letters.c.message_id],
            set_={"state": "dead", "reason": kept, "settled_at": None},
            where=dead_letters.c.state == "redriven",
        )
    )
    return found.rowcount == 1


def done(tx: Connection, *, consumer: str, message_id: str) -> bool:
    """Settle the letter of a message that was redriven and worked on; False, and nothing, for any other message."""
    settled = update(dead_letters).where(*_redriven(consumer, message_id)).values(state="done", settled_at=func.now())
    return tx.execute(settled).rowcount == 1


def is_redriven(tx: Connection, *, consumer: str, message_id: str) -> bool:
    """Tell whether the message was dead, and waits to be worked on again."""
    return tx.scalar(select(dead_letters.c.id).where(*_redriven(consumer, message_id))) is not None


def redriven(tx: Connection, letter_id: int) -> None:
    """Note that the letter's message waits to be worked on again."""
    tx.execute(
        update(dead_letters)
        .where(dead_letters.c.id == letter_id)
        .values(state="redriven", redrives=dead_letters.c.redrives + 1, settled_at=None)
    )


def discarded(tx: Connection, letter_id: int) -> None:
    """Note that nobody shall ever work on the letter's message."""
    tx.execute(
        update(dead_letters).where(dead_letters.c.id == letter_id).values(state="discarded", settled_at=func.now())
    )


def get(tx: Connection, letter_id: int, *, lock: bool = False) -> DeadLetter | None:
    """Return the letter, with its row locked where somebody decides about it; None when there is none."""
    statement = _select().where(dead_letters.c.id == letter_id)
    row = tx.execute(statement.with_for_update() if lock else statement).one_or_none()
    return None if row is None else DeadLetter(*row)


def value(tx: Connection, letter_id: int) -> bytes | None:
    """Return the payload, byte for byte; None of a tombstone."""
    found: bytes | None = tx.scalar(select(dead_letters.c.value).where(dead_letters.c.id == letter_id))
    return found


def find(tx: Connection, *, consumer: str | None, state: str | None, limit: int) -> list[DeadLetter]:
    """Return up to `limit` letters, the newest first; of all consumers, or in all states, where None."""
    statement = _select().order_by(dead_letters.c.id.desc()).limit(limit)
    if consumer is not None:
        statement = statement.where(dead_letters.c.consumer == consumer)
    if state is not None:
        statement = statement.where(dead_letters.c.state == state)
    return [DeadLetter(*row) for row in tx.execute(statement)]


def of_key(tx: Connection, key: str, *, most: int) -> list[DeadLetter]:
    """Return up to `most` letters of a key, of whatever consumer, the oldest first."""
    statement = _select().where(dead_letters.c.key == key).order_by(dead_letters.c.id).limit(most)
    return [DeadLetter(*row) for row in tx.execute(statement)]


def of_messages(tx: Connection, consumer: str, message_ids: Collection[str]) -> list[DeadLetter]:
    """Return the consumer's letters of these messages, the oldest first."""
    of = (dead_letters.c.consumer == consumer, dead_letters.c.message_id.in_(message_ids))
    return [DeadLetter(*row) for row in tx.execute(_select().where(*of).order_by(dead_letters.c.id))]


def dead_ids(tx: Connection, consumer: str, *, after: int, limit: int) -> Sequence[int]:
    """Return the ids above `after` of the consumer's letters that are dead, the oldest first."""
    of_consumer = (dead_letters.c.consumer == consumer, dead_letters.c.state == "dead", dead_letters.c.id > after)
    return tx.scalars(select(dead_letters.c.id).where(*of_consumer).order_by(dead_letters.c.id).limit(limit)).all()


def count(tx: Connection, consumer: str) -> int:
    """Return how many letters of the consumer wait for somebody's decision."""
    dead = (dead_letters.c.consumer == consumer, dead_letters.c.state == "dead")
    return tx.scalar(select(func.count()).select_from(dead_letters).where(*dead)) or 0


def counts(tx: Connection) -> list[tuple[str, State, int]]:
    """Return consumer, state and how many, of all that there are."""
    of = (dead_letters.c.consumer, dead_letters.c.state)
    found = tx.execute(select(*of, func.count()).group_by(*of).order_by(*of))
    return [(consumer, state, letters) for consumer, state, letters in found]


def _redriven(consumer: str, message_id: str) -> tuple[ColumnElement[bool], ...]:
    of = (dead_letters.c.consumer == consumer, dead_letters.c.message_id == message_id)
    return (*of, dead_letters.c.state == "redriven")


def _select() -> Select[Any]:
    columns = [dead_letters.c[name] for name in DeadLetter._fields if name != "age"]
    return select(*columns, (func.now() - dead_letters.c.created_at).label("age"))
