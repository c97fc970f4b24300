"""What can a person do with dead letters? Look at them, let one be worked on again, or give it up.

A redrive runs from the row, never through the topic: the message waits in `parked` for its
consumer, under its old id; a webhook's effect is pending again (docs/design.md, "Dead letters").
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, Engine

from paidonce.app import audit, db
from paidonce.app.audit import By
from paidonce.app.errors import PaidonceError
from paidonce.app.messaging import brakes, dead_letters, effects, parked
from paidonce.app.messaging.dead_letters import DeadLetter
from paidonce.app.payments import charging, provider_webhook
from paidonce.app.settings import Settings
from paidonce.app.steps import step
from paidonce.app.webhooks import effect_kind
from paidonce.workers.consumer import SUBSCRIBERS
from paidonce.workers.readings import topics_read

#: Letters whose ids are read at once; each is redriven in a transaction of its own.
PAGE = 500
#: Why a letter that is not dead stays as it is.
NOT_DEAD = {
    "redriven": "it was redriven already, and waits to be worked on",
    "done": "it was redriven already, and is done",
    "discarded": "it was discarded",
}


class RefusedError(Exception):
    """The letter stays as it is; the message says why."""


class UnknownConsumerError(PaidonceError):
    """There is no consumer of that name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one letter: what was `done`, or why it was `refused`."""

    id: int
    done: str = ""
    refused: str = ""


def listed(
    bind: Engine, settings: Settings, *, consumer: str | None, state: str | None, limit: int
) -> list[DeadLetter]:
    """Return up to `limit` letters, the newest first.

    Raises:
        UnknownConsumerError: there is no such consumer.
    """
    with bind.connect() as tx:
        if consumer is not None:
            _check_known(tx, settings, consumer)
        return dead_letters.find(tx, consumer=consumer, state=state, limit=limit)


def shown(bind: Engine, letter_id: int) -> tuple[DeadLetter, bytes | None] | None:
    """Return a letter with its payload; None when there is none."""
    with bind.connect() as tx:
        letter = dead_letters.get(tx, letter_id)
        return None if letter is None else (letter, dead_letters.value(tx, letter_id))


def consumers(bind: Engine) -> list[str]:
    """Return whose letters there are."""
    with bind.connect() as tx:
        return sorted({consumer for consumer, _, _ in dead_letters.counts(tx)})


def standing(bind: Engine) -> list[str]:
    """Return the consumers whose brake is engaged: what is redriven for them waits for its release."""
    with bind.connect() as tx:
        return [one.consumer for one in brakes.all_engaged(tx)]


def redrive_all(bind: Engine, settings: Settings, consumer: str, by: By) -> Iterator[Answer]:
    """Redrive every letter of `consumer` that is dead now, the oldest first.

    Raises:
        UnknownConsumerError: there is no such consumer.
    """
    with bind.connect() as tx:
        _check_known(tx, settings, consumer)
    last = 0
    while ids := _dead_ids(bind, consumer, last):
        for letter_id in ids:
            yield redrive(bind, settings, letter_id, by)
        last = ids[-1]


def redrive(bind: Engine, settings: Settings, letter_id: int, by: By, *, seen: int | None = None) -> Answer:
    """Let the letter's message be worked on again.

    `seen` is how often it had been redriven when whoever decides looked; None: they have not looked.
    """
    return _decide(bind, letter_id, by, "redrive", lambda tx, letter: _redrive(tx, letter, settings), seen=seen)


def discard(bind: Engine, letter_id: int, by: By, *, seen: int | None = None) -> Answer:
    """Give the letter's message up; its row stays. `seen` as in `redrive`."""
    return _decide(bind, letter_id, by, "discard", _discard, seen=seen)


def subject(letter_id: int) -> str:
    """Return what the audit calls a letter."""
    return f"dead letter {letter_id}"


def _check_known(tx: Connection, settings: Settings, consumer: str) -> None:
    """Refuse a name that nobody has who may have letters: ours, who ever read a topic, whose letters there are."""
    known = {*SUBSCRIBERS, *topics_read(tx, settings), *(name for name, _, _ in dead_letters.counts(tx))}
    known |= {charging.ALARMS, provider_webhook.CONSUMER, effect_kind.CONSUMER}
    if consumer not in known:
        raise UnknownConsumerError(f"there is no consumer {consumer!r}: it is one of {', '.join(sorted(known))}")


@step("dead_letters.decide")
def _decide(
    bind: Engine,
    letter_id: int,
    by: By,
    action: str,
    work: Callable[[Connection, DeadLetter], str],
    *,
    seen: int | None,
) -> Answer:
    try:
        with db.begin(bind) as tx:
            letter = _dead(tx, letter_id, seen)
            done = work(tx, letter)
            audit.write(tx, by, action, subject(letter_id), f"{letter.consumer}, message {letter.message_id}")
            return Answer(letter_id, done=done)
    except RefusedError as error:
        return Answer(letter_id, refused=str(error))


def _dead(tx: Connection, letter_id: int, seen: int | None) -> DeadLetter:
    letter = dead_letters.get(tx, letter_id, lock=True)
    if letter is None:
        raise RefusedError("there is no such dead letter")
    if letter.state != "dead":
        raise RefusedError(NOT_DEAD[letter.state])
    if seen not in {None, letter.redrives}:
        raise RefusedError("it was redriven meanwhile, and is dead again: read why, and decide anew")
    return letter


def _redrive(tx: Connection, letter: DeadLetter, settings: Settings) -> str:
    if letter.age > timedelta(days=settings.redrive_horizon_d):
        raise RefusedError(
            f"it is {letter.age / timedelta(days=1):.1f} days old, and redrives end after {settings.redrive_horizon_d} "
            f"(PAIDONCE_REDRIVE_HORIZON_D): the inbox, which remembers for {settings.inbox_retention_d} "
            "(PAIDONCE_INBOX_RETENTION_D), is not sure to absorb its copies any more; settle it by hand, and discard it"
        )
    if letter.consumer == effect_kind.CONSUMER:
        said = _send_again(tx, letter, effect_kind.WebhookKind.name)
    elif "effect" in letter.envelope:
        said = _carry_out_again(tx, letter)
    elif "headers" in letter.envelope:
        said = _park(tx, letter)
    else:
        raise RefusedError(f"it is an alarm of {letter.consumer}, which no program works on: settle it, and discard it")
    dead_letters.redriven(tx, letter.id)
    return said


def _send_again(tx: Connection, letter: DeadLetter, kind: str) -> str:
    if not effects.again(tx, kind=kind, subject=letter.message_id):
        raise RefusedError("its effect is not refused, so nothing is to be sent again")
    return f"its {kind} is sent again"


def _carry_out_again(tx: Connection, letter: DeadLetter) -> str:
    """Only what may happen twice: of anything else the other side's answer was the last word (app/yours/effects.py)."""
    if not letter.envelope["repeats"]:
        raise RefusedError("it must not happen twice, and the other side refused it: settle it by hand, and discard it")
    return _send_again(tx, letter, letter.envelope["effect"])


def _park(tx: Connection, letter: DeadLetter) -> str:
    value = dead_letters.value(tx, letter.id)
    if value is None:
        raise RefusedError("it is a tombstone: there is nothing to work on; discard it")
    parked.park(
        tx,
        consumer=letter.consumer,
        message_id=letter.message_id,
        key=letter.key or "",
        envelope=letter.envelope,
        value=value,
        reason="redriven",
        delay=timedelta(),
        attempts=0,
    )
    return f"{letter.consumer} works on it again"


def _discard(tx: Connection, letter: DeadLetter) -> str:
    dead_letters.discarded(tx, letter.id)
    return "discarded"


def _dead_ids(bind: Engine, consumer: str, after: int) -> Sequence[int]:
    with bind.connect() as tx:
        return dead_letters.dead_ids(tx, consumer, after=after, limit=PAGE)
