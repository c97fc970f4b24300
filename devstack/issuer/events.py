"""What happened that somebody must hear of? One row an event, in the transaction that it tells of.

`refresh_token_reused` and `code_reused`: somebody had a copy, and the login that it belongs to is revoked.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, insert, select

from paidonce.devstack.issuer.tables import events

_log = structlog.get_logger(__name__)


class Event(NamedTuple):
    """An event as it was written."""

    at: datetime
    name: str
    #: whose login it was: client_id, sub, tenant, family
    about: dict[str, Any]


def write(tx: Connection, name: str, now: datetime, **about: str) -> None:
    """Write an event; `about` never holds a token."""
    tx.execute(insert(events).values(at=now, name=name, about=about))
    _log.warning(name, **about)


def newest(tx: Connection, count: int) -> Sequence[Event]:
    """Return the newest events, newest first."""
    found = tx.execute(select(events.c.at, events.c.name, events.c.about).order_by(events.c.id.desc()).limit(count))
    return [Event(*row) for row in found]
