"""What does a consumer do with its messages? A subscriber: a name, the types it wants, and its work on a batch.

There is one shape, the batch. `each` makes it from handlers of one message, which is how most
are written; the ledger works on a whole batch in one statement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from paidonce.app.messaging.envelope import Message
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


def each(
    name: str, handlers: Mapping[str, Handler], *, aggregatetype: str = "payment", hints: tuple[str, ...] = (OUTBOX,)
) -> Subscriber:
    """Return the subscriber `name` that calls `handlers[type]` for each message."""

    def work(tx: Connection, messages: Sequence[Message]) -> Mapping[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for message in messages:
            outcomes[message.message_id] = handlers[message.type](tx, message)
            if not isinstance(outcomes[message.message_id], Done):
                break
        return outcomes

    return Subscriber(name, frozenset(handlers), work, aggregatetype, hints)
