"""What happened in a run, in numbers? Counted from the facts; nothing here judges."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from paidonce.chaos.checkers.money import RECEIVABLE
from paidonce.chaos.facts import Facts, Fault, Result
from paidonce.chaos.history import Operation


def tally(result: Result) -> dict[str, Any]:
    """Return the figures of a run under stable names, as report.json has them; amounts in minor units."""
    return {"tried": _tried(result), "found": _found(result.facts), "drain_s": round(result.drained.seconds, 1)}


def _tried(result: Result) -> dict[str, Any]:
    facts = result.facts
    operations = [op for op in facts.operations if op.kind != "register"]
    keyed = [op for op in operations if op.key]
    fired = [fault for fault in facts.faults if fault.fired_at]
    return {
        "payments": result.payments,
        "load_s": round(result.load_s, 1),
        "requests": len(operations),
        "replicas": len({op.api for op in operations}),
        "unanswered": _counted(op.error or "cut off" for op in operations if not op.status),
        "server_errors": _counted(op.status for op in operations if op.status and op.status >= 500),
        "sent_again": len(keyed) - len({(op.tenant, op.path, op.key) for op in keyed}),
        "at_once_most": max(_at_once(keyed), default=0),
        "mismatches": sum(op.kind == "mismatch" for op in operations),
        "cancels": _subjects(operations, "cancel"),
        "refunds": _subjects(operations, "refund"),
        "faults": [_fault(fault, facts) for fault in facts.faults],
        "fired": _counted(fault.kind for fault in fired),
        "got_over": sum(fault.back_after_s is not None for fault in fired),
    }


def _found(facts: Facts) -> dict[str, Any]:
    taken = [delivery for delivery in facts.deliveries if delivery.status < 300]
    called = len({c.reference for c in facts.charges}) + len({r.reference for r in facts.provider_refunds})
    return {
        "payments": _counted(row.status for row in facts.payments),
        "refunds": _counted(row.status for row in facts.refunds),
        "replays": sum(op.replayed for op in facts.operations),
        "conflicts": _counted(op.code for op in facts.operations if op.status == 409),
        "charges": _counted(charge.status for charge in facts.charges),
        "provider_refunds": _counted(refund.status for refund in facts.provider_refunds),
        "provider_calls": facts.provider_calls,
        "provider_answers": dict(facts.provider_answers),
        "left_unknown": {kind: len(facts.left_unknown(kind)) for kind in sorted(facts.expected_unknown)},
        "provider_calls_without_new_object": facts.provider_calls - called,
        "ledger": _ledger(facts),
        "events": len(facts.events),
        "topic_records": len(facts.topic),
        "webhooks_taken": len(taken),
        "webhooks_repeated": len(facts.deliveries) - len({delivery.webhook_id for delivery in facts.deliveries}),
    }


def _counted(things: Iterable[Any]) -> dict[str, int]:
    return {str(name): count for name, count in sorted(Counter(things).items(), key=lambda pair: str(pair[0]))}


def _subjects(operations: Iterable[Operation], kind: str) -> int:
    return len({(op.tenant, op.subject) for op in operations if op.kind == kind})


def _at_once(operations: Iterable[Operation]) -> Iterable[int]:
    """Yield, for each key, how many requests were on their way under it at the same moment."""
    moments: dict[Any, list[tuple[float, int]]] = {}
    for op in operations:
        edges = moments.setdefault((op.tenant, op.path, op.key), [])
        edges += [(op.began, 1), (op.ended or op.began, -1)]
    for edges in moments.values():
        now = most = 0
        for _, change in sorted(edges):
            now += change
            most = max(most, now)
        yield most


def _fault(fault: Fault, facts: Facts) -> dict[str, Any]:
    """Tell when it fired, in seconds after the first payment, and how much was under way."""
    named = {"number": fault.number, "kind": fault.kind, "target": fault.target, "saw": fault.saw}
    if fault.fired_at is None:
        return {**named, "fired": False}
    first = min((op.began for op in facts.operations if op.kind == "create"), default=fault.fired_at)
    return {
        **named,
        "fired": True,
        "after_s": round(fault.fired_at - first, 2),
        "lasted_s": None if fault.healed_at is None else round(fault.healed_at - fault.fired_at, 2),
        "back_after_s": None if fault.back_after_s is None else round(fault.back_after_s, 2),
        "requests_under_way": sum(op.began <= fault.fired_at < (op.ended or 0.0) for op in facts.operations),
    }


def _ledger(facts: Facts) -> list[dict[str, Any]]:
    totals: dict[tuple[str, str], Counter[str]] = {}
    for line in facts.ledger:
        if line.account == RECEIVABLE:
            side = "captured" if line.amount > 0 else "refunded"
            totals.setdefault((line.tenant, line.currency), Counter())[side] += abs(line.amount)
    return [
        {
            "tenant": tenant,
            "currency": currency,
            "captured": sums["captured"],
            "refunded": sums["refunded"],
            "owed": sums["captured"] - sums["refunded"],
        }
        for (tenant, currency), sums in sorted(totals.items())
    ]
