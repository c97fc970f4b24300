"""The public face of Paidonce: what a team imports beside its own API (docs/own-workers.md), and the command line."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paidonce.app.messaging.envelope import Message
    from paidonce.app.messaging.handlers import Handler
    from paidonce.app.messaging.outcomes import Done, Poison, RetryLater
    from paidonce.app.yours import effects, outbox
    from paidonce.app.yours.handlers import handler
    from paidonce.app.yours.idempotency import Idempotency, Once

__all__ = [
    "Done",
    "Handler",
    "Idempotency",
    "Message",
    "Once",
    "Poison",
    "RetryLater",
    "effects",
    "handler",
    "outbox",
]

#: Where each public name is at home. It is imported when it is first asked for: every process and command begins
#: with this package, and most need neither FastAPI nor SQLAlchemy's asyncio.
HOMES = {
    "Done": "app.messaging.outcomes:Done",
    "Handler": "app.messaging.handlers:Handler",
    "Idempotency": "app.yours.idempotency:Idempotency",
    "Message": "app.messaging.envelope:Message",
    "Once": "app.yours.idempotency:Once",
    "Poison": "app.messaging.outcomes:Poison",
    "RetryLater": "app.messaging.outcomes:RetryLater",
    "effects": "app.yours.effects:",
    "handler": "app.yours.handlers:handler",
    "outbox": "app.yours.outbox:",
}


def __getattr__(name: str) -> object:
    """Import a public name's home, once."""
    if name not in HOMES:
        raise AttributeError(f"module 'paidonce' has no attribute {name!r}")
    globals()[name] = found = resolve_name(f"paidonce.{HOMES[name]}")
    return found
