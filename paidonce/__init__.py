"""The public face of Paidonce: what the author of a handler imports, and the command line."""

from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.handlers import Handler
from paidonce.app.messaging.outcomes import Done, Poison, RetryLater

__all__ = ["Done", "Handler", "Message", "Poison", "RetryLater"]
