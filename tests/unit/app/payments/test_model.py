from datetime import UTC, datetime
from uuid import UUID

import pytest

from paidonce.app.documents import as_json
from paidonce.app.payments.events import payment_event
from paidonce.app.payments.model import PAYMENT_CHANGES, REFUND_CHANGES, Payment, PaymentStatus

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def payment(status: PaymentStatus = "pending") -> Payment:
    return Payment(
        id=UUID(int=7), tenant="acme", status=status, amount=1, currency="EUR",
        payment_method="pm_secret", created_at=AT, updated_at=AT,
    )  # fmt: skip


def test_every_state_is_left_only_as_the_design_draws_it() -> None:
    drawn = {(a, b) for a, after in PAYMENT_CHANGES.items() for b in after}
    assert drawn == {
        ("pending", "charging"),
        ("pending", "canceled"),
        ("charging", "captured"),
        ("charging", "declined"),
        ("captured", "refunded"),
    }
    assert {(a, b) for a, after in REFUND_CHANGES.items() for b in after} == {
        ("pending", "refunding"),
        ("refunding", "succeeded"),
        ("refunding", "failed"),
    }


@pytest.mark.parametrize("final", ["declined", "canceled", "refunded"])
def test_final_states_are_final(final: PaymentStatus) -> None:
    assert not any(payment(final).may_become(status) for status in PAYMENT_CHANGES)


def test_an_event_carries_no_payment_method_and_says_utc() -> None:
    event = payment_event("payment.accepted", payment(), AT)
    assert b"pm_secret" not in event.payload
    assert b'"created_at":"2026-01-02T03:04:05.678901Z"' in event.payload
    assert (event.aggregatetype, event.aggregateid, event.sequence) == ("payment", str(UUID(int=7)), 1)


def test_json_of_a_moment_is_rfc_3339() -> None:
    assert as_json({"at": AT}) == b'{"at":"2026-01-02T03:04:05.678901Z"}'
