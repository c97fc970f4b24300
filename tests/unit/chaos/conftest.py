"""A small run in which every promise was kept; each test breaks one."""

from typing import Any

import orjson
import pytest

from paidonce.chaos.facts import (
    Charge,
    Delivery,
    EffectLine,
    EffectRow,
    EventRow,
    Facts,
    Fault,
    LedgerLine,
    PaymentRow,
    ProviderRefund,
    RefundRow,
    TopicRecord,
    Wait,
    WindowRow,
)
from paidonce.chaos.history import Operation


def operation(number: int, kind: str, document: dict[str, Any], **changes: Any) -> Operation:
    body = orjson.dumps(document).decode()
    values: dict[str, Any] = {
        "tenant": "acme",
        "subject": "s-1",
        "method": "POST",
        "path": "/v1/payments",
        "api": "http://127.0.0.1:1",
        "key": "pay-s-1",
        "request": {"amount": 900, "currency": "EUR"},
        "began": float(number),
        "ended": number + 0.5,
        "outcome": "ok",
        "status": 201,
        "body": body,
        "sha256": f"hash of {body}",
    }
    return Operation(number=number, kind=kind, **(values | changes))


def _operations() -> list[Operation]:
    replayed = {"headers": {"idempotent-replayed": "true"}}
    problem = {"code": "idempotency-key-reused"}
    second: dict[str, Any] = {"subject": "s-2", "key": "pay-s-2", "tenant": "globex"}
    cancel: dict[str, Any] = {"path": "/v1/payments/p-2/cancel", "key": "cancel-s-2", "status": 200}
    refund: dict[str, Any] = {"path": "/v1/payments/p-1/refunds", "subject": "s-1-r0", "key": "refund-s-1-r0"}
    read: dict[str, Any] = {"method": "GET", "path": "/v1/payments/p-1", "key": None, "status": 200}
    return [
        operation(0, "create", {"id": "p-1", "status": "pending"}),
        operation(1, "create", {"id": "p-1", "status": "pending"}, **replayed),
        operation(2, "mismatch", problem, outcome="fail", status=409),
        operation(3, "create", {"id": "p-2", "status": "pending"}, **second),
        operation(4, "cancel", {"id": "p-2", "status": "canceled"}, **second | cancel),
        operation(5, "read", {"id": "p-1", "status": "captured"}, **read),
        operation(6, "refund", {"id": "r-1", "status": "pending"}, **refund),
        operation(7, "create", {}, subject="s-1", outcome="info", status=None, sha256=""),
    ]


def _ledger(transaction: str, amount: int) -> list[LedgerLine]:
    return [
        LedgerLine(
            transaction_id=transaction,
            account=account,
            tenant="acme",
            currency="EUR",
            amount=signed,
            kind="capture" if amount > 0 else "refund",
            payment_id="p-1",
        )
        for account, signed in (("provider_receivable", amount), ("merchant_payable", -amount))
    ]


def _events() -> list[EventRow]:
    rows = [
        ("e-1", "acme", "p-1", "payment.accepted", 1),
        ("e-2", "globex", "p-2", "payment.accepted", 1),
        ("e-3", "acme", "p-1", "payment.captured", 3),
        ("e-4", "globex", "p-2", "payment.canceled", 2),
    ]
    return [EventRow(id=i, tenant=t, key=k, type=y, sequence=s) for i, t, k, y, s in rows]


def _effect_history() -> list[EffectLine]:
    """One call whose first worker lost it, and whose second one was answered."""
    rows = [
        ("created", "pending", None),
        ("claimed", "running", "one"),
        ("lease_lost", "unknown", None),
        ("claimed", "running", "two"),
        ("answered", "done", "two"),
    ]
    return [EffectLine(kind="charge", subject="p-1", event=e, state=s, token=t) for e, s, t in rows]


def _windows() -> list[WindowRow]:
    """A whole span, then one that was cut in two."""
    end = 2**63 - 1
    rows = [(1, 1, "1:1:", "1:5:3", 0, end), (2, 1, "1:5:3", "5:9:", 4, 7), (3, 2, "1:5:3", "5:9:", 7, end)]
    return [WindowRow(shard=0, number=n, epoch=e, s1=a, s2=b, lo=lo, hi=hi) for n, e, a, b, lo, hi in rows]


@pytest.fixture
def good() -> Facts:
    """Two payments: one captured and partly refunded, one canceled."""
    money: dict[str, Any] = {"amount": 900, "currency": "EUR"}
    events = _events()
    return Facts(
        operations=_operations(),
        charges=[Charge(id="ch-1", key="charge-p-1", reference="p-1", status="captured", **money)],
        provider_refunds=[
            ProviderRefund(id="re-1", key="refund-r-1", reference="r-1", charge="ch-1", status="succeeded", amount=300)
        ],
        provider_calls=3,
        payments=[
            PaymentRow(
                id="p-1",
                tenant="acme",
                subject="s-1",
                status="captured",
                amount_refunded=300,
                provider_charge_id="ch-1",
                **money,
            ),
            PaymentRow(
                id="p-2",
                tenant="globex",
                subject="s-2",
                status="canceled",
                amount_refunded=0,
                provider_charge_id=None,
                **money,
            ),
        ],
        refunds=[
            RefundRow(id="r-1", payment_id="p-1", tenant="acme", subject="s-1-r0", status="succeeded", amount=300)
        ],
        ledger=[*_ledger("t-1", 900), *_ledger("t-2", -300)],
        effects=[EffectRow(kind="charge", subject="p-1", tenant="acme", state="done", attempts=1)],
        effect_history=_effect_history(),
        windows=_windows(),
        events=events,
        waits=[Wait(what="payment", subject="p-1", began=1.0, ended=9.0)],
        topic=[
            TopicRecord(
                message_id=event.id,
                key=event.key,
                type=event.type,
                sequence=event.sequence,
                partition=int(event.key == "p-2"),
                offset=offset,
            )
            for offset, event in enumerate(events)
        ],
        deliveries=[
            Delivery(tenant=event.tenant, webhook_id=event.id, sha256=event.id, verified=True, status=204)
            for event in events
        ],
        endpoints=frozenset({"acme", "globex"}),
        faults=[
            Fault(
                number=1, kind="kill", target="relay", fired_at=1.5, healed_at=1.5, back_after_s=0.4, saw="pid 7 died"
            )
        ],
    )
