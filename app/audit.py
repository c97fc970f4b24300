"""Who decided what, when and why? A row for each thing that a person's hand did, in the transaction that did it.

Append-only: a trigger refuses everything else (migrations/versions/0016_audit.py). Home of the table `audit`.
"""

from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Connection, insert, select

from paidonce.app.tables import audit

Via = Literal["console", "command line"]

#: Characters of a reason that are kept: a paragraph.
REASON_CHARS_MAX = 1_000


class By(NamedTuple):
    """Who decides, by which door, and what they say why."""

    #: `sub` of an operator's token, or the account of a shell
    actor: str
    via: Via
    reason: str = ""


class Entry(NamedTuple):
    """One row."""

    id: int
    at: datetime
    actor: str
    via: Via
    action: str
    #: what was decided about, as `dead letter 12`
    subject: str
    #: what that was: it may be gone when somebody reads this
    about: str
    reason: str


def write(tx: Connection, by: By, action: str, subject: str, about: str = "") -> None:
    """Note what is done in this transaction: without its COMMIT neither happened."""
    reason = by.reason.replace("\0", "")[:REASON_CHARS_MAX]
    tx.execute(
        insert(audit).values(actor=by.actor, via=by.via, action=action, subject=subject, about=about, reason=reason)
    )


def newest(tx: Connection, *, subject: str | None = None, limit: int) -> list[Entry]:
    """Return up to `limit` entries, the newest first; of one subject, or of all where None."""
    statement = select(*(audit.c[name] for name in Entry._fields)).order_by(audit.c.id.desc()).limit(limit)
    if subject is not None:
        statement = statement.where(audit.c.subject == subject)
    return [Entry(*row) for row in tx.execute(statement)]
