"""What happens to a batch inside its transaction? Together when all is well, otherwise each behind a savepoint."""

from collections.abc import Sequence
from datetime import timedelta

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from paidonce.app import db, trace_context
from paidonce.app.messaging import brakes, dead_letters, inbox, outbox, parked
from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Done, Outcome, Poison, RetryLater
from paidonce.app.steps import step
from paidonce.workers.consumer_brake import Brake
from paidonce.workers.consumer_metrics import Tally
from paidonce.workers.consumer_records import Arrival, envelope

#: Deferred constraints (the ledger's sum) are checked where their message is known, not at COMMIT.
CHECK_NOW = text("SET CONSTRAINTS ALL IMMEDIATE")
CHECK_LATER = text("SET CONSTRAINTS ALL DEFERRED")

#: Makes a transaction that found everything done write, so that its COMMIT waits for a synchronous
#: standby: the offsets must not overtake the rows that they rest on.
WRITE_ANYWAY = text("SELECT pg_logical_emit_message(true, 'paidonce', '')")

#: What becomes of a message while an earlier one of its key waits: it is due as soon as it is the first.
BEHIND = RetryLater(timedelta(), "an earlier message of its key waits")

_log = structlog.get_logger()


class ApartError(Exception):
    """The batch cannot be done as one: some message needs a treatment of its own."""


class _UndoneError(Exception):
    """Takes a message's savepoint back."""


def together(tx: Connection, subscriber: Subscriber, arrivals: Sequence[Arrival]) -> Tally:
    """Claim the batch and do all new messages at once, but for those whose key waits: they wait too.

    Raises:
        ApartError: roll back, and do them `apart`.
    """
    first: dict[str, Arrival] = {}
    for arrival in arrivals:
        if arrival.message is None:
            raise ApartError
        first.setdefault(arrival.message_id, arrival)
    new = inbox.claim(tx, subscriber.name, list(first))
    if not new:
        tx.execute(WRITE_ANYWAY)
    wanted = [one for one in first.values() if one.message_id in new and _wants(subscriber, one)]
    waiting = parked.waiting(tx, subscriber.name, {one.key or "" for one in wanted}) if wanted else set()
    behind = [one for one in wanted if one.key in waiting]
    for arrival in behind:
        _park(tx, subscriber, arrival, BEHIND, attempts=0)
    ready = [one.message for one in wanted if one.key not in waiting and one.message]
    if ready and not all(isinstance(outcome, Done) for outcome in _handled(tx, subscriber, ready)):
        raise ApartError
    return Tally(len(arrivals), len(new) - len(behind), len(arrivals) - len(new), len(behind))


def apart(tx: Connection, subscriber: Subscriber, arrivals: Sequence[Arrival], brake: Brake) -> Tally:
    """Do the arrivals in order, each behind a savepoint, as far as the brake lets; its row is written here."""
    tally = Tally()
    for arrival in [_named(tx, one) for one in arrivals]:
        tally.count += 1
        if not inbox.claim(tx, subscriber.name, [arrival.message_id]):
            tally.duplicate += 1
            continue
        outcome = _one(tx, subscriber, arrival)
        tally.done += isinstance(outcome, Done)
        tally.parked += isinstance(outcome, RetryLater)
        tally.poison += isinstance(outcome, Poison)
        brake.note(poison=isinstance(outcome, Poison))
        if brake.engaged:
            brakes.engage(tx, subscriber.name, f"{brake.reason}, the last for: {_said(outcome)}")
            break
    if tally.duplicate == tally.count:
        tx.execute(WRITE_ANYWAY)
    return tally


def attempt(tx: Connection, subscriber: Subscriber, message: Message) -> Outcome:
    """Do one message; of an outcome that is not `Done` nothing stays in the transaction.

    Raises:
        Exception: a transient error of the database, which condemns nobody.
    """
    outcome: Outcome = Done()
    try:
        with tx.begin_nested():
            tx.execute(CHECK_LATER)
            [outcome] = _handled(tx, subscriber, [message])
            _keep_only_done(outcome)
    except _UndoneError:
        return outcome
    except ApartError as error:
        return Poison(_reason(error.__cause__ or error))
    return outcome


def bury(tx: Connection, subscriber: Subscriber, arrival: Arrival, reason: str) -> None:
    """Put the record into the dead letters, whole."""
    _log.error("poison", **_words(subscriber, arrival), reason=reason)
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
    elif not _wants(subscriber, arrival):
        outcome = Done()
    elif parked.waiting(tx, subscriber.name, {message.key}):
        _park(tx, subscriber, arrival, BEHIND, attempts=0)
        return BEHIND
    else:
        outcome = attempt(tx, subscriber, message)
    if isinstance(outcome, Poison):
        bury(tx, subscriber, _disowned(tx, subscriber, arrival), outcome.reason)
    elif isinstance(outcome, RetryLater):
        _park(tx, subscriber, arrival, outcome, attempts=1)
    return outcome


def _named(tx: Connection, arrival: Arrival) -> Arrival:
    """Let what was refused have the id that it names, if it is the event that our outbox has under it.

    Any other record would take the id from its event.
    """
    refused = arrival.refused
    return arrival._replace(message_id=refused.message_id) if refused and outbox.has(tx, refused) else arrival


def _disowned(tx: Connection, subscriber: Subscriber, arrival: Arrival) -> Arrival:
    """Give the id back, from a message that is poison, where our outbox has another event under it."""
    if arrival.message is None or outbox.has(tx, arrival.message) is not False:
        return arrival
    inbox.release(tx, subscriber.name, arrival.message_id)
    other = arrival.by_place()
    inbox.claim(tx, subscriber.name, [other.message_id])
    return other


def _wants(subscriber: Subscriber, arrival: Arrival) -> bool:
    return arrival.message is not None and arrival.message.type in subscriber.types


def _said(outcome: Outcome) -> str:
    return outcome.reason if isinstance(outcome, Poison | RetryLater) else "nothing"


def _park(tx: Connection, subscriber: Subscriber, arrival: Arrival, outcome: RetryLater, *, attempts: int) -> None:
    _log.info("parked", **_words(subscriber, arrival), reason=outcome.reason, delay_s=outcome.delay.total_seconds())
    parked.park(
        tx,
        consumer=subscriber.name,
        message_id=arrival.message_id,
        key=arrival.key or "",
        envelope=envelope(arrival),
        value=arrival.record.value or b"",
        reason=outcome.reason,
        delay=outcome.delay,
        attempts=attempts,
    )


def _handled(tx: Connection, subscriber: Subscriber, messages: Sequence[Message]) -> list[Outcome]:
    with trace_context.within_all(lambda: [message.headers.get(trace_context.HEADER) for message in messages]):
        return _work(tx, subscriber, messages)


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


def _words(subscriber: Subscriber, arrival: Arrival) -> dict[str, str | None]:
    """Return what names a message in every line about it."""
    return {
        "consumer": subscriber.name,
        "message_id": arrival.message_id,
        subscriber.key_name: arrival.key,
        "trace_id": arrival.traceparent[3:35] or None,
    }


def _reason(error: BaseException) -> str:
    """Return the error's class and message, without the statement's parameters: they hold the payload."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return f"{type(cause).__name__}: {cause}"
