"""What left the database for a payment, and what came of it? Charge, refunds and webhooks, and the books."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from paidonce.app.messaging.effects import Kept, Line
from paidonce.app.trail.facts import Facts
from paidonce.app.trail.model import Entry, Stage
from paidonce.app.visible import visible

#: What the other side says is shown to so many characters.
SAID_CHARS_MAX = 200
ASKED = {"call": "asked", "look_up": "looked up"}


def entries(facts: Facts) -> Iterator[Entry]:
    """Yield every effect with its attempts, and the ledger's transactions."""
    lines: dict[object, list[Line]] = defaultdict(list)
    for line in facts.history:
        lines[line.effect_id].append(line)
    for effect in facts.effects:
        yield from _effect(facts, effect, lines[effect.id])
    yield from _missing_effects(facts)
    yield from _missing_webhooks(facts)
    yield from _books(facts)


def _effect(facts: Facts, effect: Kept, lines: Sequence[Line]) -> Iterator[Entry]:
    stage: Stage = "webhook" if effect.kind == "webhook" else "effect"
    ids = _ids(facts, effect)
    for line in lines:
        yield Entry(at=line.at, stage=stage, what=f"{effect.kind}: {_said(line)}", ids=ids | _attempt(line))
    gap = _open(effect, lines)
    if gap is not None:
        at, what = gap
        due = {"next_attempt_at": effect.next_attempt_at.isoformat()} if effect.next_attempt_at else {}
        more = {"attempts": str(effect.attempts)} | due
        yield Entry(at=at, stage=stage, what=f"{effect.kind}: {what}", ids=ids | more, gap=True)


def _open(effect: Kept, lines: Sequence[Line]) -> tuple[datetime, str] | None:
    """Return since when an effect has not ended, and how that is called; None: it has."""
    if effect.state in ("done", "refused"):
        return None
    if effect.state == "unknown" or (effect.state == "running" and _was_unknown(lines)):
        return _unknown_since(effect, lines), "nobody knows what came of it"
    return effect.created_at, "it has not come to its end"


def _was_unknown(lines: Sequence[Line]) -> bool:
    return bool(lines) and lines[-1].event == "claimed" and _settled_state(lines) == "unknown"


def _settled_state(lines: Sequence[Line]) -> str:
    """Return the state before the claim that runs now."""
    return next((line.state for line in reversed(lines) if line.state != "running"), "pending")


def _unknown_since(effect: Kept, lines: Sequence[Line]) -> datetime:
    since = effect.updated_at
    for line in reversed(lines):
        if line.state == "unknown":
            since = line.at
        elif line.state != "running":
            break
    return since


def _said(line: Line) -> str:
    if line.event != "answered":
        attempt = line.detail.get("attempt")
        return {
            "created": "is to be sent",
            "claimed": f"attempt {attempt} began",
            "lease_lost": f"the worker was gone in mid-attempt: {line.state}",
            "redriven": "is to be sent again: an operator's decision",
        }.get(line.event, line.event)
    asked = ASKED.get(str(line.detail.get("asked")), "asked")
    return f"{asked}, the answer was {_answer(line.detail)}: {line.state}"


def _answer(detail: dict[str, Any]) -> str:
    more = detail.get("code") or detail.get("reason") or detail.get("retry_after_s")
    said = str(detail.get("answer")) if more is None else f"{detail.get('answer')} ({more})"
    return visible(said)[:SAID_CHARS_MAX]


def _attempt(line: Line) -> dict[str, str]:
    return {"attempt": str(line.detail["attempt"])} if "attempt" in line.detail else {}


def _ids(facts: Facts, effect: Kept) -> dict[str, str]:
    subject = {"charge": "payment", "refund": "refund"}.get(effect.kind, "message_id")
    ids = {"effect": str(effect.id), subject: effect.subject}
    if effect.kind == "webhook":
        return ids | {"type": facts.typed.get(effect.subject, "")}
    provider_id = facts.payment.provider_charge_id
    if effect.kind == "refund":
        provider_id = next((one.provider_refund_id for one in facts.refunds if str(one.id) == effect.subject), None)
    return ids | {"provider_id": provider_id} if provider_id else ids


def _missing_effects(facts: Facts) -> Iterator[Entry]:
    """Effects are never removed: one that its payment or refund went on without is missing."""
    made = {(effect.kind, effect.subject) for effect in facts.effects}
    payment = facts.payment
    if payment.status not in ("pending", "canceled") and ("charge", str(payment.id)) not in made:
        what = f"charge: the payment is {payment.status}, and nothing was sent"
        yield Entry(at=payment.updated_at, stage="effect", what=what, ids={"payment": str(payment.id)}, gap=True)
    for refund in facts.refunds:
        if refund.status != "pending" and ("refund", str(refund.id)) not in made:
            what = f"refund: it is {refund.status}, and nothing was sent"
            yield Entry(at=refund.updated_at, stage="effect", what=what, ids={"refund": str(refund.id)}, gap=True)


def _missing_webhooks(facts: Facts) -> Iterator[Entry]:
    """What the tenant wants, and notifications got and made nothing of, unless it is put off or dead there."""
    if facts.wished is None:
        return
    types, since = facts.wished
    known = {effect.subject for effect in facts.effects if effect.kind == "webhook"}
    known |= {one.message_id for one in facts.parked if one.consumer == "notifications"}
    known |= {one.message_id for one in facts.letters if one.consumer == "notifications"}
    for event in facts.originals:
        arrived_at = facts.arrivals.get(("notifications", event.id))
        wanted = types is None or event.type in types
        if wanted and arrived_at is not None and arrived_at > since and str(event.id) not in known:
            what = f"webhook: there is none for {event.type}, which the tenant wants"
            yield Entry(at=arrived_at, stage="webhook", what=what, ids={"message_id": str(event.id)}, gap=True)


def _books(facts: Facts) -> Iterator[Entry]:
    for one in facts.booked:
        what = f"booked a {one.kind} of {one.amount} {one.currency}: {one.debit} to {one.credit}"
        ids = {"ledger_transaction": str(one.transaction_id)}
        yield Entry(at=one.created_at, stage="ledger", what=what, ids=ids)
    booked = [one.kind for one in facts.booked]
    payment = facts.payment
    refunded = [refund.updated_at for refund in facts.refunds if refund.status == "succeeded"]
    if payment.status in ("captured", "refunded") and "capture" not in booked:
        yield _not_booked(facts, "capture", payment.updated_at)
    for at in sorted(refunded)[booked.count("refund") :]:
        yield _not_booked(facts, "refund", at)


def _not_booked(facts: Facts, kind: str, at: datetime) -> Entry:
    ids = {"payment": str(facts.payment.id)}
    return Entry(at=at, stage="ledger", what=f"the {kind} is not in the books", ids=ids, gap=True)
