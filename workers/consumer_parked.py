"""What becomes of a message that waited? It is tried again when it is due, the first of each key only.

Each runs alone, its start recorded before, so one that kills its process is found here too: its
start never comes back. A message that was redriven waits here as well, and its dead letter learns
what became of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine

from paidonce.app import db
from paidonce.app.messaging import brakes, dead_letters, inbox, parked, starts
from paidonce.app.messaging.envelope import MalformedMessageError, Message
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Done, Outcome, Poison, RetryLater
from paidonce.app.messaging.parked import Parked
from paidonce.app.steps import step
from paidonce.workers.consumer_batch import attempt
from paidonce.workers.consumer_brake import Brake
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
    brake: Brake
    #: is told of each COMMIT
    committed: Callable[[Tally], None]
    look_at: float = 0.0
    #: position of a message whose start has come back without an answer, and is still counted; None: there is none
    back: int | None = None

    def run_once(self) -> int:
        """Try messages that are due for about PASS_S, as far as the brake lets; return how many that was."""
        began, worked = monotonic(), 0
        while self.look_at <= monotonic() < began + PASS_S and not self.brake.engaged:
            looked_at = monotonic()
            if not self.try_one():
                self.look_at = monotonic() + pause_s(monotonic() - looked_at)
                break
            worked += 1
        return worked

    def try_one(self) -> bool:
        """Try a message that is due; False when there is none.

        Raises:
            Exception: what disturbed it; one that is transient takes the start back.
        """
        if self.back is not None:
            self.take_back(self.back)
        begun: list[int] = []
        try:
            return self.work_off(begun)
        except Exception as error:
            if begun and db.is_transient(error):
                self.back = begun[0]
                self.close()
            raise

    @step("consumer.work_off")
    def work_off(self, begun: list[int]) -> bool:
        """Try, or condemn, a message that is due; `begun` gets its position. False when there is none."""
        brake = self.brake.copy()
        with db.begin(self.bind) as tx:
            waiting = parked.due(tx, self.subscriber.name)
            if waiting is None:
                return False
            # The row is ours until this transaction ends, so of several members only one begins.
            started = self.start(waiting.position)
            begun.append(waiting.position)
            outcome = work_off(tx, self.subscriber, waiting, brake, fault=deadly(started, self.alone_starts))
        self.brake.adopt(brake)
        poison, again = isinstance(outcome, Poison), isinstance(outcome, RetryLater)
        self.committed(Tally(1, done=not (poison or again), parked=again, poison=poison))
        return True

    @step("consumer.begin_parked")
    def start(self, position: int) -> int:
        """Record a start, in a transaction of its own that a crash leaves behind; return how many never came back."""
        with db.begin(self.bind) as tx:
            return starts.begin_parked(tx, consumer=self.subscriber.name, position=position, session=self.session)

    @step("consumer.take_back")
    def take_back(self, position: int) -> None:
        """Count a start no longer: a disturbance ended it, and this process lives."""
        with db.begin(self.bind) as tx:
            starts.came_back(tx, consumer=self.subscriber.name, position=position, session=self.session)
        self.back = None

    def close(self) -> None:
        """Take back the last start, if it is still counted; where that fails, the next look or close does it."""
        if self.back is None:
            return
        try:
            self.take_back(self.back)
        except Exception as error:  # noqa: BLE001  whatever disturbs it: the member must go on, or leave its group
            _log.warning("start not taken back", consumer=self.subscriber.name, error=repr(error))


def pause_s(took_s: float) -> float:
    """Return the seconds until the next look, after one that found nothing and took `took_s`."""
    return min(LOOK_MOST_S, max(LOOK_S, LOOK_SHARE * took_s))


def work_off(tx: Connection, subscriber: Subscriber, waiting: Parked, brake: Brake, *, fault: str) -> Outcome:
    """Try the message in the caller's transaction, which has locked it, or condemn it for `fault`.

    The brake's row is written here.
    """
    outcome = Poison(fault) if fault else _attempt(tx, subscriber, waiting)
    starts.end_parked(tx, consumer=subscriber.name, position=waiting.position)
    if isinstance(outcome, RetryLater):
        parked.put_off(tx, waiting.position, delay=outcome.delay, reason=outcome.reason)
        return outcome
    if isinstance(outcome, Done):
        was_dead = dead_letters.done(tx, consumer=subscriber.name, message_id=waiting.message_id)
    else:
        was_dead = dead_letters.is_redriven(tx, consumer=subscriber.name, message_id=waiting.message_id)
        _bury(tx, subscriber, waiting, outcome.reason)
    parked.remove(tx, waiting.position)
    if not was_dead:
        _brake(tx, subscriber, outcome, brake)
    return outcome


def _brake(tx: Connection, subscriber: Subscriber, outcome: Done | Poison, brake: Brake) -> None:
    """Take a message into account that was never dead: of one that was, a stop of the consumer would save nothing."""
    brake.note(poison=isinstance(outcome, Poison))
    if brake.engaged:
        said = outcome.reason if isinstance(outcome, Poison) else "nothing"
        brakes.engage(tx, subscriber.name, f"{brake.reason}, the last for: {said}")


def _bury(tx: Connection, subscriber: Subscriber, waiting: Parked, reason: str) -> None:
    named = {"consumer": subscriber.name, "message_id": waiting.message_id, subscriber.key_name: waiting.key}
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
    if message.type not in subscriber.types:
        return Done()
    if message.message_id == waiting.message_id:
        return attempt(tx, subscriber, message)
    return _attempt_under_its_id(tx, subscriber, message)


def _attempt_under_its_id(tx: Connection, subscriber: Subscriber, message: Message) -> Outcome:
    """Try what was kept under its place, and is a message now; it is absorbed if its id is known."""
    if not inbox.claim(tx, subscriber.name, [message.message_id]):
        return Done()
    outcome = attempt(tx, subscriber, message)
    if not isinstance(outcome, Done):
        inbox.release(tx, subscriber.name, message.message_id)
    return outcome
