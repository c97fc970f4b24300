"""What happened to one payment, from the request to the webhook? Every witness's account of it, by time."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from paidonce.chaos import moments
from paidonce.chaos.checkers.verdict import Violation
from paidonce.chaos.facts import Facts, Fault, PaymentRow
from paidonce.chaos.history import Operation
from paidonce.chaos.page.names import named_in

#: Lines of one story at most: a payment that was asked for a hundred times is still one to read.
LINES_MOST = 150

CALLS = "SELECT at, method, path, idem_key, status, answered_at, note FROM calls WHERE reference IN ({})"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened."""

    #: seconds since 1970; None when nobody noted it
    at: float | None
    #: request, commit, window, message, inbox, effect, provider, ledger, webhook or fault
    place: str
    what: str
    #: whether the evidence of a violation names it
    evidence: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """The story of one payment."""

    payment: str
    tenant: str
    subject: str
    #: how it ended, in words
    end: str
    #: seconds since 1970 of its first line
    began: float
    lines: Sequence[Line]
    #: lines that are left out because there are too many
    left_out: int


def story(payment: str, facts: Facts, folder: Path, violation: Violation | None = None) -> Story:
    """Tell what happened to a payment; lines that the violation's evidence names are marked."""
    row = next((row for row in facts.payments if row.id == payment), None)
    # A client that wanted one payment and got two has one story.
    twins = [one.id for one in facts.payments if row and (one.tenant, one.subject) == (row.tenant, row.subject)]
    own = [line for one in twins or [payment] for line in _books(one, facts, folder)]
    lines = [*_clients(payment, facts), *own]
    timed = sorted((line for line in lines if line.at is not None), key=lambda line: line.at or 0.0)
    if timed:
        timed = sorted([*timed, *_faults(facts.faults, timed)], key=lambda line: line.at or 0.0)
    told = [*timed, *(line for line in lines if line.at is None)]
    told = _marked(told, _telling(payment, row.subject if row else None, violation))
    return Story(
        payment=payment,
        tenant=row.tenant if row else "nobody",
        subject=(row.subject or "") if row else "",
        end=_end(row, twins, facts) if row else "no such payment",
        began=(timed[0].at or 0.0) if timed else 0.0,
        lines=told[:LINES_MOST],
        left_out=max(0, len(told) - LINES_MOST),
    )


def _end(row: PaymentRow, twins: Sequence[str], facts: Facts) -> str:
    said = f"{row.status}, {row.amount} {row.currency}"
    said += f", {row.amount_refunded} refunded" if row.amount_refunded else ""
    also = [one for one in twins if one != row.id]
    said += f"; also known as {', '.join(also)}" if also else ""
    taken = sum(charge.status == "captured" and charge.reference in twins for charge in facts.charges)
    return f"{said}; captured {taken} times" if taken > 1 else said


def hardest(facts: Facts) -> str | None:
    """Return the payment that had the hardest time: with the most requests that nobody answered, or else the most."""
    tries: Counter[tuple[str, str]] = Counter()
    for op in facts.operations:
        tries[op.tenant, op.subject] += 1 if op.status else 100
    rows = [row for row in facts.payments if row.subject and row.status in {"captured", "refunded"}]
    return max(rows, key=lambda row: tries[row.tenant, row.subject or ""]).id if rows else None


def _telling(payment: str, subject: str | None, violation: Violation | None) -> set[str]:
    """Return the names in the evidence that tell one line from another: not the payment's own, which are in all."""
    if violation is None:
        return set()
    return set(named_in([violation.what, *violation.evidence])) - {payment, subject, "payment"}


def _marked(lines: Iterable[Line], telling: Collection[str]) -> list[Line]:
    """Mark lines that name a thing of the evidence: an id, so neither a word nor a figure."""
    ids = {name for name in telling if any(sign in name for sign in "-_#") and any(map(str.isdigit, name))}
    return [
        replace(line, evidence=line.place != "fault" and not ids.isdisjoint(named_in([line.what]))) for line in lines
    ]


def _clients(payment: str, facts: Facts) -> Iterator[Line]:
    subjects = {(row.tenant, row.subject) for row in facts.payments if row.id == payment}
    subjects |= {(row.tenant, row.subject) for row in facts.refunds if row.payment_id == payment}
    shown = None
    for op in facts.operations:
        if (op.tenant, op.subject) not in subjects:
            continue
        status = op.document.get("status") if op.kind == "read" and op.outcome == "ok" else None
        if status is None or status != shown:
            yield Line(op.began, "request", _asked(op))
        shown = status or shown


def _asked(op: Operation) -> str:
    amount = f" {op.request['amount']} {op.request.get('currency', '')}".rstrip() if "amount" in op.request else ""
    key = f" under key {op.key}" if op.key else ""
    waited = f" after {op.ended - op.began:.3f} s" if op.ended else ""
    if not op.status:
        return f"#{op.number} {op.kind}{amount}{key}: no answer ({op.error or 'cut off'}){waited}"
    said = " ".join(str(part) for part in (op.status, op.code or op.document.get("status", "")) if part)
    return f"#{op.number} {op.kind}{amount}{key}: {said}{waited}{', the first answer again' if op.replayed else ''}"


def _books(payment: str, facts: Facts, folder: Path) -> Iterator[Line]:
    for moment in moments.of(payment, folder):
        yield Line(moment.at, moment.place, moment.what)
    for record in facts.topic:
        if record.key == payment:
            where = f"partition {record.partition}, offset {record.offset}"
            yield Line(record.at, "message", f"{record.type}, sequence {record.sequence}, {where}, {record.message_id}")
    yield from _provider(payment, facts, folder)
    events = {event.id: event.type for event in facts.events if event.key == payment}
    for delivery in facts.deliveries:
        if delivery.webhook_id in events:
            signed = "rightly" if delivery.verified else "wrongly"
            what = f"{events[delivery.webhook_id]} {delivery.webhook_id}, {signed} signed, answered {delivery.status}"
            yield Line(delivery.at, "webhook", what)


def _provider(payment: str, facts: Facts, folder: Path) -> Iterator[Line]:
    refunds = {row.id for row in facts.refunds if row.payment_id == payment}
    for charge in facts.charges:
        if charge.reference == payment:
            money = f"{charge.status} {charge.amount} {charge.currency}"
            yield Line(charge.at, "provider", f"charge {charge.id}: {money}, key {charge.key}")
    for refund in facts.provider_refunds:
        if refund.reference in refunds:
            what = f"refund {refund.id}: {refund.status} {refund.amount}, key {refund.key}"
            yield Line(refund.at, "provider", what)
    yield from _calls([payment, *refunds], folder / "provider.sqlite")


def _calls(references: Sequence[str], journal: Path) -> Iterator[Line]:
    """Yield what the provider was asked, whatever it made of it."""
    if not journal.exists():
        return
    marks = ", ".join("?" * len(references))
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as file:
        calls = file.execute(CALLS.format(marks), references).fetchall()
    for at, method, path, key, status, answered_at, note in calls:
        said = f"answered {status}" if status else "no answer"
        after = f" after {answered_at - at:.3f} s" if answered_at else ""
        under = f" under key {key}" if key else ""
        yield Line(at, "provider", f"asked {method} {path}{under}: {said}{f' ({note})' if note else ''}{after}")


def _faults(faults: Sequence[Fault], lines: Sequence[Line]) -> Iterator[Line]:
    """Yield the faults that fell between the first and the last of the lines, both of which have times."""
    first, last = lines[0].at or 0.0, lines[-1].at or 0.0
    for fault in faults:
        if fault.fired_at is not None and first <= fault.fired_at <= last:
            yield Line(fault.fired_at, "fault", f"fault {fault.number}: {fault.kind} {fault.target}")
