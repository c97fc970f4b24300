"""Which messages could nobody work on, and what becomes of them? By the functions that the command line calls."""

import base64
from typing import Any
from uuid import UUID

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from paidonce.app import audit
from paidonce.app.audit import REASON_CHARS_MAX, By
from paidonce.app.messaging import brakes
from paidonce.console.desk import Desk
from paidonce.console.reason import reason_of
from paidonce.console.visit import Visit
from paidonce.workers import dead_letters as work

#: Letters of one page, the newest; `paidonce dead-letters list` has more.
LETTERS_MOST = 200
#: The largest id that PostgreSQL has.
ID_MAX = 2**63 - 1
STATES = ("dead", *work.NOT_DEAD)
#: Decisions that are shown of one letter.
DECISIONS_MOST = 50


def letters(desk: Desk, visit: Visit) -> Response:
    """List them, of one consumer or all, in one state or all."""
    state, consumer = visit.query.get("state", "dead"), visit.query.get("consumer", "")
    if state not in {*STATES, "all"}:
        raise HTTPException(404, "there is no such state of a dead letter")
    found = work.listed(
        desk.engine,
        desk.settings,
        consumer=consumer or None,
        state=None if state == "all" else state,
        limit=LETTERS_MOST,
    )
    return desk.pages.of(
        visit.session,
        "letters",
        letters=found,
        most=LETTERS_MOST,
        state=state,
        states=(*STATES, "all"),
        consumer=consumer,
        consumers=work.consumers(desk.engine),
    )


def letter(desk: Desk, visit: Visit) -> Response:
    """Show one whole, and what can be done about it."""
    return _letter(desk, visit)


def redrive(desk: Desk, visit: Visit) -> Response:
    """Let the letter's message be worked on again."""
    reason, wrong = reason_of(visit)
    if wrong:
        return _letter(desk, visit, wrong=wrong, status=422)
    by, seen = _by(visit, reason), _seen(visit)
    return _answered(desk, visit, work.redrive(desk.engine, desk.settings, _number(visit), by, seen=seen))


def discard(desk: Desk, visit: Visit) -> Response:
    """Give the letter's message up."""
    reason, wrong = reason_of(visit)
    if wrong:
        return _letter(desk, visit, wrong=wrong, status=422)
    if visit.form.get("sure") != "yes":
        wrong = "Nobody will ever work on a message that is discarded: say that you mean it, by the box."
        return _letter(desk, visit, wrong=wrong, status=422)
    return _answered(desk, visit, work.discard(desk.engine, _number(visit), _by(visit, reason), seen=_seen(visit)))


def _answered(desk: Desk, visit: Visit, answer: work.Answer) -> Response:
    if answer.refused:
        return _letter(desk, visit, wrong=f"It stays as it is: {answer.refused}.", status=409)
    # The page that a reload shows again, with the decision on it.
    return RedirectResponse(f"/dead-letters/{answer.id}", 303)


def _letter(desk: Desk, visit: Visit, *, wrong: str = "", status: int = 200) -> Response:
    number = _number(visit)
    found = work.shown(desk.engine, number)
    if found is None:
        raise HTTPException(404, f"there is no dead letter {number}")
    one, payload = found
    with desk.engine.connect() as tx:
        decisions = audit.newest(tx, subject=work.subject(number), limit=DECISIONS_MOST)
        braked = brakes.engaged(tx, one.consumer)
    return desk.pages.of(
        visit.session,
        "letter",
        status=status,
        letter=one,
        payment=_payment(one.key),
        envelope=_pretty(one.envelope),
        payload=_readable(payload),
        decisions=decisions,
        braked=braked,
        not_dead=work.NOT_DEAD.get(one.state, ""),
        horizon_d=desk.settings.redrive_horizon_d,
        reason=visit.form.get("reason", ""),
        reason_most=REASON_CHARS_MAX,
        wrong=wrong,
    )


def _number(visit: Visit) -> int:
    number: int = visit.names["letter_id"]
    if not 1 <= number <= ID_MAX:
        raise HTTPException(404, "there is no such dead letter")
    return number


def _by(visit: Visit, reason: str) -> By:
    return By(visit.session.principal.sub, "console", reason)


def _seen(visit: Visit) -> int:
    """Return how often the letter on the page had been redriven: what is dead again since is another decision."""
    said = visit.form.get("redrives", "")
    return int(said) if said.isdecimal() else -1


def _payment(key: str | None) -> UUID | None:
    """Return the payment that a letter is about, where its key can be one."""
    try:
        return UUID(key or "")
    except ValueError:
        return None


def _readable(payload: bytes | None) -> str:
    if payload is None:
        return "nothing: it is a tombstone"
    try:
        plain = payload.decode()
    except UnicodeDecodeError:
        return f"base64: {base64.b64encode(payload).decode()}"
    try:
        pretty = _pretty(orjson.loads(payload))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return plain  # not JSON, or nested more deeply than it is written
    # Members that are there twice and numbers too long for a machine are read, and written otherwise.
    return pretty if "".join(pretty.split()) == "".join(plain.split()) else plain


def _pretty(document: Any) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
