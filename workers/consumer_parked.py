"""What becomes of a message that waited? It is tried again when it is due, the first of each key only.

Each runs alone, its start recorded before, so one that kills its process is found here too. A
message that was redriven waits here as well, and its dead letter learns what became of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine

from paidonce.app import db
from paidonce.app.messaging import dead_letters, parked, starts
from paidonce.app.messaging.envelope import MalformedMessageError
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Done, Outcome, Poison, RetryLater
from paidonce.app.messaging.parked import Parked
from paidonce.app.steps import step
from paidonce.workers.consumer_batch import attempt
from paidonce.workers.consumer_crashes import deadly
from paidonce.workers.consumer_metrics import Tally
from paidonce.workers.consumer_records import restore

#: Seconds between looks for messages that are due, while none was found.
LOOK_S = 0.2
#: A look that found nothing is repeated after so many times what it took, so looks cost 5 % of the time, however many
#: messages wait behind one that is not due; but no later than LOOK_MOST_S, for what was slow once may not be again.
LOOK_SHARE = 20
LOOK_MOST_S = 2.0
#: Seconds that one pass spends on messages that are due, before the topic has its turn again.
PASS_S = 0.1

_log = structlog.get_logger()


@dataclass(slots=True)
class ParkedWork:
    """Works off one consumer's messages that wait."""

    bind: Engine
    subscriber: Subscriber
    session: UUID
    alone_starts: int
    #: is told of each COMMIT
    committed: Callable[[Tally], None]
    look_at: float = 0.0

    def run_once(self) -> int:
        """Try messages that are due for about PASS_S; return how many that was."""
        began, worked = monotonic(), 0
        while self.look_at <= monotonic() < began + PASS_S:
            looked_at = monotonic()
            position, started = self.start()
            if position is None:
                self.look_at = monotonic() + pause_s(monotonic() - looked_at)
                break
            worked += self.work_off(position, deadly(started, self.alone_starts))
        return worked

    @step("consumer.begin_parked")
    def start(self) -> tuple[int | None, int]:
        """Record the start of a message that is due; return its position and how often it was started."""
        name = self.subscriber.name
        with db.begin(self.bind) as tx:
            position = parked.due(tx, name)
            if position is None:
                return None, 0
            return position, starts.begin_parked(tx, consumer=name, position=position, session=self.session)

    @step("consumer.work_off")
    def work_off(self, position: int, fault: str) -> bool:
        """Try the message, or condemn it for `fault`; False when another process has it."""
        with db.begin(self.bind) as tx:
            outcome = work_off(tx, self.subscriber, position, fault=fault)
        if outcome is None:
            return False
        poison, again = isinstance(outcome, Poison), isinstance(outcome, RetryLater)
        self.committed(Tally(1, done=not (poison or again), parked=again, poison=poison))
        return True


def pause_s(took_s: float) -> float:
    """Return the seconds until the next look, after one that found nothing and took `took_s`."""
    return min(LOOK_MOST_S, max(LOOK_S, LOOK_SHARE * took_s))


def work_off(tx: Connection, subscriber: Subscriber, position: int, *, fault: str) -> Outcome | None:
    """Try the message in the caller's transaction, or condemn it for `fault`; None when another process has it."""
    waiting = parked.take(tx, position)
    if waiting is None:
        return None
    outcome = Poison(fault) if fault else _attempt(tx, subscriber, waiting)
    starts.end_parked(tx, consumer=subscriber.name, position=position)
    if isinstance(outcome, RetryLater):
        parked.put_off(tx, position, delay=outcome.delay, reason=outcome.reason)
        return outcome
    if isinstance(outcome, Done):
        dead_letters.done(tx, consumer=subscriber.name, message_id=waiting.message_id)
    else:
        _bury(tx, subscriber, waiting, outcome.reason)
    parked.remove(tx, position)
    return outcome


def _bury(tx: Connection, subscriber: Subscriber, waiting: Parked, reason: str) -> None:
    named = {"consumer": subscriber.name, "message_id": waiting.message_id, "payment_id": waiting.key}
    _log.error("poison", **named, reason=reason)
    dead_letters.add(
        tx,
        consumer=subscriber.name,
        message_id=waiting.message_id,
        key=waiting.key,
        envelope=waiting.envelope,
        value=waiting.value,
        reason=reason,
    )


def _attempt(tx: Connection, subscriber: Subscriber, waiting: Parked) -> Outcome:
    try:
        message = restore(waiting.envelope, waiting.value)
    except MalformedMessageError as error:
        return Poison(str(error))
    refusal = subscriber.refuses(message)
    if refusal:
        return Poison(refusal)
    # It was redriven, and this program no longer works on its type.
    return attempt(tx, subscriber, message) if message.type in subscriber.types else Done()
