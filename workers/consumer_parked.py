"""What becomes of a message that waited? It is tried again when it is due, the first of each key only.

Each runs alone, its start recorded before, so one that kills its process is found here too.
"""

from sqlalchemy import Connection

from paidonce.app.messaging import dead_letters, parked, starts
from paidonce.app.messaging.envelope import MalformedMessageError
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Outcome, Poison, RetryLater
from paidonce.app.messaging.parked import Parked
from paidonce.workers.consumer_batch import attempt
from paidonce.workers.consumer_records import restore


def work_off(tx: Connection, subscriber: Subscriber, position: int, *, fault: str) -> bool:
    """Try the message in the caller's transaction, or condemn it for `fault`; False when another process has it."""
    waiting = parked.take(tx, position)
    if waiting is None:
        return False
    outcome = Poison(fault) if fault else _attempt(tx, subscriber, waiting)
    starts.end_parked(tx, consumer=subscriber.name, position=position)
    if isinstance(outcome, RetryLater):
        parked.put_off(tx, position, delay=outcome.delay, reason=outcome.reason)
        return True
    if isinstance(outcome, Poison):
        dead_letters.add(
            tx,
            consumer=subscriber.name,
            message_id=waiting.message_id,
            key=waiting.key,
            envelope=waiting.envelope,
            value=waiting.value,
            reason=outcome.reason,
        )
    parked.remove(tx, position)
    return True


def _attempt(tx: Connection, subscriber: Subscriber, waiting: Parked) -> Outcome:
    try:
        message = restore(waiting.envelope, waiting.value)
    except MalformedMessageError as error:
        return Poison(str(error))
    return attempt(tx, subscriber, message)
