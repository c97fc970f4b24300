"""Did the clients get honest answers? One answer for one key, and nothing acknowledged that is not so."""

from paidonce.chaos.checkers.money import grouped
from paidonce.chaos.checkers.verdict import Examined, Violation
from paidonce.chaos.facts import Facts

FINAL = frozenset({"captured", "declined", "canceled", "refunded"})
REFUND_FINAL = frozenset({"succeeded", "failed"})

#: 4xx that a client of the workload may meet: a conflict that it caused itself
EXPECTED_CODES = frozenset(
    {"request-in-progress", "idempotency-key-reused", "not-cancelable", "not-refundable", "precondition-failed"}
)
#: The step that requests share which come together (app/payments/accepting.py), and which requests those are.
SHARED, SHARED_BY = "payments.accept", ("POST", "/v1/payments")
#: what a gateway says when no answer came to it; the API itself has no such codes
UNANSWERED_CODES = frozenset({"bad-gateway", "gateway-timeout"})


def same_key_same_answer(facts: Facts) -> Examined:
    """Every success under one key has the same bytes, status and headers; at most one was not a replay."""
    successes = [op for op in facts.operations if op.key and op.outcome == "ok"]
    violations, examined = [], 0
    for (_, _, key), group in grouped(successes, lambda op: (op.tenant, op.path, op.key)).items():
        examined += len(group) > 1
        kept = {(op.status, op.sha256, op.headers.get("location"), op.headers.get("etag")) for op in group}
        told = tuple(op.told() for op in group)
        if len(kept) > 1:
            violations.append(Violation(f"key {key} got {len(kept)} different answers", told))
        if sum(not op.replayed for op in group) > 1:
            violations.append(Violation(f"the work of key {key} was done more than once", told))
    return examined, violations


def mismatch_refused(facts: Facts) -> Examined:
    """Another payload under a used key is refused as a reused key."""
    tried = [op for op in facts.operations if op.kind == "mismatch" and op.outcome != "info"]
    settled = [op for op in tried if op.code != "request-in-progress"]
    return len(settled), [
        Violation(f"another payload under key {op.key} was not refused", (op.told(),))
        for op in settled
        if (op.status, op.code) != (409, "idempotency-key-reused")
    ]


def acknowledged_exists(facts: Facts) -> Examined:
    """Every payment and refund that a client was told of exists as told, and is final."""
    payments = {row.id: row for row in facts.payments}
    refunds = {row.id: row for row in facts.refunds}
    violations, examined = [], 0
    for op in facts.operations:
        if op.outcome != "ok" or op.kind not in {"create", "replay", "refund"}:
            continue
        examined += 1
        id_ = str(op.document.get("id"))
        row = refunds.get(id_) if op.kind == "refund" else payments.get(id_)
        if row is None or (row.tenant, row.subject) != (op.tenant, op.subject):
            violations.append(Violation(f"{op.subject} was acknowledged as {id_}, which is not there", (op.told(),)))
    violations += [
        Violation(f"payment {row.id} ended as {row.status}", (f"payment {row.id} of {row.tenant}: {row.subject}",))
        for row in facts.payments
        if row.status not in FINAL and row.id not in facts.left_unknown("charge")
    ]
    violations += [
        Violation(f"refund {refund.id} ended as {refund.status}", (f"refund {refund.id}: {refund.subject}",))
        for refund in facts.refunds
        if refund.status not in REFUND_FINAL and refund.id not in facts.left_unknown("refund")
    ]
    return examined, violations


def tenants_apart(facts: Facts) -> Examined:
    """What a client was told of, and what it was shown, is its own tenant's."""
    owners = {row.id: row.tenant for row in facts.payments} | {row.id: row.tenant for row in facts.refunds}
    told = [op for op in facts.operations if op.outcome == "ok" and str(op.document.get("id")) in owners]
    return len(told), [
        Violation(f"{op.tenant} was told of {owners[str(op.document['id'])]}'s {op.document['id']}", (op.told(),))
        for op in told
        if owners[str(op.document["id"])] != op.tenant
    ]


def one_payment_a_key(facts: Facts) -> Examined:
    """What a client wanted to pay once, under one key, is one payment."""
    groups = grouped(facts.payments, lambda row: (row.tenant, row.subject))
    return len(groups), [
        Violation(
            f"{tenant} wanted to pay {subject} once, and there are {len(rows)} payments",
            tuple(f"payment {row.id} ({row.status}) {row.amount} {row.currency}" for row in rows),
        )
        for (tenant, subject), rows in groups.items()
        if len(rows) > 1
    ]


def reads_agree(facts: Facts) -> Examined:
    """The last status that the API showed a client, once it was final, is the one in the table."""
    payments = {row.id: row for row in facts.payments}
    last = {op.path: op for op in facts.operations if op.kind == "read" and op.outcome == "ok"}
    final = [op for op in last.values() if op.document.get("status") in FINAL]
    violations = []
    for op in final:
        row = payments.get(str(op.document.get("id")))
        followers = {"captured": {"captured", "refunded"}}.get(op.document["status"], {op.document["status"]})
        if row is None or row.status not in followers:
            status = row.status if row else "missing"
            violations.append(Violation(f"the API said {op.document['status']}, the table says {status}", (op.told(),)))
    return len(final), violations


def answers_expected(facts: Facts) -> Examined:
    """No error that the client has not caused and that 503 does not announce: no 500, no stray 4xx.

    But for one 500 of each exception that was thrown into the API on purpose, while that request was under way; where
    requests that came together share what was hit, for those of one replica.
    """
    answered = [op for op in facts.operations if op.status]
    unexpected = [
        op
        for op in answered
        if op.outcome != "ok" and op.status != 503 and op.code not in EXPECTED_CODES | UNANSWERED_CODES
    ]
    for at, shared in _thrown_into_api(facts):
        hit = [op for op in unexpected if op.status == 500 and op.began <= at <= (op.ended or at)]
        company = [op for op in hit if op.api == hit[0].api and (op.method, op.path) == SHARED_BY]
        for op in company if shared else hit[:1]:
            unexpected.remove(op)
    return len(answered), [
        Violation(f"a {op.kind} was answered with {op.status}", (op.told(), op.body[:300])) for op in unexpected
    ]


def _thrown_into_api(facts: Facts) -> list[tuple[float, bool]]:
    """Return when strikes of the kind `exception` hit the API (chaos/strikes.py), and whether that step is shared."""
    struck = [fault for fault in facts.faults if fault.kind == "strike" and fault.target.startswith("api")]
    return [
        (fault.fired_at, fault.saw.startswith(f"{SHARED}:"))
        for fault in struck
        if fault.fired_at is not None and ":exception" in fault.saw
    ]
