"""What does a consumer do with its messages? A subscriber: a name, the types it wants, and its work on a batch.

There is one shape, the batch. `each` makes it from handlers of one message, which is how most
are written; the ledger works on a whole batch in one statement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from paidonce.app import trace_context
from paidonce.app.messaging.envelope import DATASCHEMA, Message
from paidonce.app.messaging.hint import OUTBOX
from paidonce.app.messaging.outcomes import Done, Outcome

#: Works on one message in the caller's transaction. What it wrote counts only if it answers `Done`;
#: an exception is `Poison`, unless the database says "try again" (`app.db.is_transient`).
Handler = Callable[[Connection, Message], Outcome]

#: Works on messages in order and answers for each by its message id. When one answer is not `Done`,
#: everything is rolled back and the same is asked again for each message alone.
Work = Callable[[Connection, Sequence[Message]], Mapping[str, Outcome]]


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Somebody who works on a topic's messages. The name is the Kafka group's and the inbox's, for ever."""

    name: str
    #: event types that reach `work`; other types of the aggregate are passed over
    types: frozenset[str]
    work: Work
    #: what the topic is about; a type that does not begin with it has no business there, and is poison
    aggregatetype: str = "payment"
    #: channels of those who find work after a batch was committed (app/messaging/hint.py)
    hints: tuple[str, ...] = ()
    #: every type that the topic may carry, and any other is poison; None: whatever begins with `aggregatetype`
    known: frozenset[str] | None = None
    #: values of the header `ce_dataschema` that `work` understands; a message without one is always understood
    dataschemas: frozenset[str] = frozenset()
    #: whether each message is a transaction of its own, because its work leaves the database
    alone: bool = False

    @property
    def key_name(self) -> str:
        """What the key of a message is called in the log."""
        return "payment_id" if self.aggregatetype == "payment" else "key"

    def refuses(self, message: Message) -> str:
        """Return why `message` must neither reach `work` nor be passed over; empty when it may."""
        if "\0" in message.key or "\0" in message.type:
            return "its key or type has a NUL character"
        if not message.type.startswith(f"{self.aggregatetype}."):
            return f"type {message.type!r} has no business on this topic, which is about {self.aggregatetype}"
        if self.known is not None and message.type not in self.known:
            return f"type {message.type!r} is unknown to this program: deploy one that knows it, then redrive"
        schema = message.headers.get(DATASCHEMA)
        if schema is not None and schema not in self.dataschemas:
            return f"dataschema {schema!r} is unknown to this program: deploy one that reads it, then redrive"
        return ""


def each(
    name: str,
    handlers: Mapping[str, Handler],
    *,
    aggregatetype: str = "payment",
    hints: tuple[str, ...] = (OUTBOX,),
    known: frozenset[str] | None = None,
    dataschemas: frozenset[str] = frozenset(),
    alone: bool = False,
) -> Subscriber:
    """Return the subscriber `name` that calls `handlers[type]` for each message."""

    def work(tx: Connection, messages: Sequence[Message]) -> Mapping[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for message in messages:
            with trace_context.within(message.headers.get(trace_context.HEADER)):
                outcomes[message.message_id] = handlers[message.type](tx, message)
            if not isinstance(outcomes[message.message_id], Done):
                break
        return outcomes

    return Subscriber(name, frozenset(handlers), work, aggregatetype, hints, known, dataschemas, alone)
