"""What does an operator do in an atlas? Commands, run through the launcher, and again when they were struck."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from paidonce.app.clock import new_id
from paidonce.app.db import begin
from paidonce.app.documents import as_json
from paidonce.app.messaging import brakes, dead_letters, outbox, readers
from paidonce.app.messaging.envelope import Event
from paidonce.chaos.atlas.errand import ErrandError, wait
from paidonce.chaos.atlas.ground import Ground

#: How often a command is given at most: once, once more because it was struck, and once for a busy machine.
ATTEMPTS = 3
#: A tenant that has no customers, and no address for webhooks.
NOBODY = "nobody"


def insist(ground: Ground, *words: str, done: Callable[[], bool], more: Mapping[str, str] | None = None) -> None:
    """Give the command, with `more` environment, until it is `done`, whatever it says; raises ErrandError."""
    said = ""
    for _ in range(ATTEMPTS):
        ended = ground.command(*words, more=more)
        if done():
            return
        said = (ended.stderr.strip() or ended.stdout.strip())[-300:]
    raise ErrandError(f"`paidonce {' '.join(words)}` did not do it {ATTEMPTS} times: {said}")


def brake(ground: Ground) -> None:
    """A consumer stands still, and is let go."""
    name = "notifications"
    with begin(ground.bind) as tx:
        brakes.engage(tx, name, "an errand of the atlas")
    insist(ground, "brake", "release", name, done=lambda: not _read(ground, brakes.engaged, name))


def forget(ground: Ground) -> None:
    """A consumer was removed for good, and nothing is kept for it any more."""
    name, topic = f"gone-{next(ground.numbers)}", ground.stack.settings.topic
    with begin(ground.bind) as tx:
        readers.note(tx, topic, [name])
    insist(ground, "consumers", "forget", name, done=lambda: name not in _read(ground, readers.known, topic))


def replay(ground: Ground) -> None:
    """The events of one payment are published again; those that know them absorb them."""
    with ground.bind.connect() as tx:
        payment = tx.scalar(text("SELECT aggregateid FROM outbox WHERE type = 'payment.captured' LIMIT 1"))
    if payment is None:
        return  # nobody has paid yet; the errand comes again
    now = datetime.now(UTC)
    since, until = (now - timedelta(hours=1)).isoformat(), (now + timedelta(minutes=1)).isoformat()
    before = _copies(ground, payment)
    words = ("outbox", "replay", "--from", since, "--to", until, "--aggregate", payment)
    insist(ground, *words, done=lambda: _copies(ground, payment) > before)


def _copies(ground: Ground, payment: str) -> int:
    with ground.bind.connect() as tx:
        found = tx.scalar(text("SELECT count(*) FROM outbox WHERE aggregateid = :id"), {"id": payment})
    return int(found or 0)


def dead_letter(ground: Ground) -> None:
    """An event of a payment that does not exist is a dead letter, is redriven, dies again, and is discarded."""
    id_ = new_id()
    data = {"payment": {"id": str(new_id())}}
    payload = as_json({"tenant": NOBODY, "type": "payment.accepted", "created_at": datetime.now(UTC), "data": data})
    event = Event(id_, "payment", data["payment"]["id"], "payment.accepted", 1, payload)
    with begin(ground.bind) as tx:
        outbox.append(tx, event, bytes_max=ground.stack.settings.message_bytes_max)
    wait(lambda: _letter(ground, id_) is not None, "the message is a dead letter")
    number = str(_letter(ground, id_)["id"])
    insist(ground, "dead-letters", "redrive", number, done=lambda: _letter(ground, id_)["redrives"] > 0)
    wait(lambda: _letter(ground, id_)["state"] == "dead", "the redriven message is a dead letter again")
    insist(
        ground,
        "dead-letters",
        "discard",
        number,
        "--yes",
        done=lambda: _letter(ground, id_)["state"] == "discarded",
    )


def _letter(ground: Ground, message_id: object) -> Any:
    with ground.bind.connect() as tx:
        found = dead_letters.find(tx, consumer="charges", state=None, limit=1_000)
    return next((one._asdict() for one in found if one.message_id == str(message_id)), None)


def _read(ground: Ground, function: Callable[..., Any], *arguments: object) -> Any:
    with ground.bind.connect() as tx:
        return function(tx, *arguments)
