"""What happens to a batch inside its transaction? Together when all is well, otherwise each behind a savepoint."""

from collections.abc import Sequence
from datetime import timedelta

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from paidonce.app import db
from paidonce.app.messaging import dead_letters, inbox, parked
from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Done, Outcome, Poison, RetryLater
from paidonce.app.steps import step
from paidonce.workers.consumer_brake import Brake
from paidonce.workers.consumer_records import Arrival, envelope

#: Deferred constraints (the ledger's sum) are checked where their message is known, not at COMMIT.
CHECK_NOW = text("SET CONSTRAINTS ALL IMMEDIATE")
CHECK_LATER = text("SET CONSTRAINTS ALL DEFERRED")

#: Makes a transaction that found everything done write, so that its COMMIT waits for a synchronous
#: standby: the offsets must not overtake the rows that they rest on.
WRITE_ANYWAY = text("SELECT pg_logical_emit_message(true, 'paidonce', '')")


_log = structlog.get_logger()


class ApartError(Exception):
    """The batch cannot be done as one: some message needs a treatment of its own."""


class _UndoneError(Exception):
    """Takes a message's savepoint back."""


def together(tx: Connection, subscriber: Subscriber, arrivals: Sequence[Arrival]) -> int:
    """Claim the batch and do all new messages at once; return how many were new.

    Raises:
        ApartError: roll back, and do them `apart`.
    """
    messages: dict[str, Message] = {}
    for arrival in arrivals:
        if arrival.message is None:
            raise ApartError
        messages.setdefault(arrival.message_id, arrival.message)
    new = inbox.claim(tx, subscriber.name, list(messages))
    if not new:
        tx.execute(WRITE_ANYWAY)
        return 0
    wanted = [one for one in messages.values() if one.message_id in new and one.type in subscriber.types]
    if wanted and parked.waiting(tx, subscriber.name, {one.key for one in wanted}):
        raise ApartError
    if wanted and not all(isinstance(outcome, Done) for outcome in _work(tx, subscriber, wanted)):
        raise ApartError
    return len(new)


def apart(tx: Connection, subscriber: Subscriber, arrivals: Sequence[Arrival], brake: Brake) -> int:
    """Do the arrivals in order, each behind a savepoint; return how many, fewer when the brake engaged."""
    new = 0
    for count, arrival in enumerate(arrivals, 1):
        if not inbox.claim(tx, subscriber.name, [arrival.message_id]):
            continue
        new += 1
        outcome = _one(tx, subscriber, arrival)
        brake.note(poison=isinstance(outcome, Poison))
        if brake.engaged:
            return count
    if not new:
        tx.execute(WRITE_ANYWAY)
    return len(arrivals)


def attempt(tx: Connection, subscriber: Subscriber, message: Message) -> Outcome:
    """Do one message; of an outcome that is not `Done` nothing stays in the transaction.

    Raises:
        Exception: a transient error of the database, which condemns nobody.
    """
    outcome: Outcome = Done()
    try:
        with tx.begin_nested():
            tx.execute(CHECK_LATER)
            [outcome] = _work(tx, subscriber, [message])
            _keep_only_done(outcome)
    except _UndoneError:
        return outcome
    except ApartError as error:
        return Poison(_reason(error.__cause__ or error))
    return outcome


def bury(tx: Connection, subscriber: Subscriber, arrival: Arrival, reason: str) -> None:
    """Put the record into the dead letters, whole."""
    _log.error("poison", **_named(subscriber, arrival), reason=reason)
    dead_letters.add(
        tx,
        consumer=subscriber.name,
        message_id=arrival.message_id,
        key=arrival.key,
        envelope=envelope(arrival),
        value=arrival.record.value,
        reason=reason,
    )


def _one(tx: Connection, subscriber: Subscriber, arrival: Arrival) -> Outcome:
    message = arrival.message
    if message is None:
        outcome: Outcome = Poison(arrival.fault)
    elif message.type not in subscriber.types:
        outcome = Done()
    elif parked.waiting(tx, subscriber.name, {message.key}):
        outcome = RetryLater(timedelta(), "an earlier message of its key waits")
        _park(tx, subscriber, arrival, message, outcome, attempts=0)
        return outcome
    else:
        outcome = attempt(tx, subscriber, message)
    if isinstance(outcome, Poison):
        bury(tx, subscriber, arrival, outcome.reason)
    elif isinstance(outcome, RetryLater) and message is not None:
        _park(tx, subscriber, arrival, message, outcome, attempts=1)
    return outcome


def _park(
    tx: Connection, subscriber: Subscriber, arrival: Arrival, message: Message, outcome: RetryLater, *, attempts: int
) -> None:
    _log.info("parked", **_named(subscriber, arrival), reason=outcome.reason, delay_s=outcome.delay.total_seconds())
    parked.park(
        tx,
        consumer=subscriber.name,
        message_id=message.message_id,
        key=message.key,
        envelope=envelope(arrival),
        value=message.value,
        reason=outcome.reason,
        delay=outcome.delay,
        attempts=attempts,
    )


@step("consumer.handle")
def _work(tx: Connection, subscriber: Subscriber, messages: Sequence[Message]) -> list[Outcome]:
    """Let the subscriber work; ApartError from whatever it raised, but a transient error as it is."""
    try:
        outcomes = subscriber.work(tx, messages)
        answers = [_answer(outcomes.get(message.message_id)) for message in messages]
        if all(isinstance(answer, Done) for answer in answers):
            tx.execute(CHECK_NOW)
    except Exception as error:
        transient = _transient(error)
        if transient is not None:
            raise transient from None
        raise ApartError from error
    return answers


def _transient(error: BaseException | None) -> BaseException | None:
    """Return the transient error that a handler raised, or raised its own words from."""
    return error if error is None or db.is_transient(error) else _transient(error.__cause__)


def _answer(outcome: object) -> Outcome:
    if not isinstance(outcome, Done | RetryLater | Poison):
        raise TypeError(f"the handler answered {outcome!r}, not Done, RetryLater or Poison")
    return outcome


def _keep_only_done(outcome: Outcome) -> None:
    if not isinstance(outcome, Done):
        raise _UndoneError


def _named(subscriber: Subscriber, arrival: Arrival) -> dict[str, str | None]:
    """Return what names a message in every line about it; its key is the payment's id."""
    trace = arrival.message.headers.get("traceparent", "") if arrival.message else ""
    return {
        "consumer": subscriber.name,
        "message_id": arrival.message_id,
        "payment_id": arrival.key,
        "trace_id": trace[3:35] or None,
    }


def _reason(error: BaseException) -> str:
    """Return the error's class and message, without the statement's parameters: they hold the payload."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return f"{type(cause).__name__}: {cause}"
