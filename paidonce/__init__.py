"""The public face of Paidonce: what a team imports beside its own API (docs/own-workers.md), and the command line."""

from typing import TYPE_CHECKING

from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.handlers import Handler
from paidonce.app.messaging.outcomes import Done, Poison, RetryLater
from paidonce.app.yours import effects, outbox
from paidonce.app.yours.handlers import handler

if TYPE_CHECKING:
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


def __getattr__(name: str) -> object:
    """Import what needs FastAPI only for those who ask for it: workers do not."""
    if name not in {"Idempotency", "Once"}:
        raise AttributeError(f"module 'paidonce' has no attribute {name!r}")
    from paidonce.app.yours import idempotency  # noqa: PLC0415  see above

    return getattr(idempotency, name)
