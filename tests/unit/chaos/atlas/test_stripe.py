"""Does the errand at Stripe's simulator notice what is there twice?"""

from pathlib import Path

import pytest

from paidonce.chaos.atlas import stripe
from paidonce.chaos.atlas.errand import ErrandError
from paidonce.devstack.provider.journal import Journal

CHARGE = {"status": "captured", "amount": 1_000, "currency": "eur", "reference": "a payment"}
REFUND = {"status": "succeeded", "amount": 1_000, "charge": "pi_1", "reference": "a refund"}


def keep(path: Path, *, charges: int, refunds: int) -> Path:
    """Return a journal with so many of each, under one reference and a key for each."""
    journal = Journal(path)
    for number in range(charges):
        document = CHARGE | {"id": f"pi_{number}"}
        journal.add_charge(document, at=1.0, call=number, key=f"k{number}", payment_method="pm_500_after")
    for number in range(refunds):
        journal.add_refund(REFUND | {"id": f"re_{number}"}, at=2.0, call=number, key=f"r{number}")
    journal.close()
    return path


def test_one_of_each_is_right(tmp_path: Path) -> None:
    stripe.check_once(keep(tmp_path / "journal", charges=1, refunds=1))


@pytest.mark.parametrize(
    ("charges", "refunds", "said"), [(2, 1, "charges of a payment"), (1, 2, "refunds of a refund")]
)
def test_two_of_one_reference_are_not(tmp_path: Path, charges: int, refunds: int, said: str) -> None:
    with pytest.raises(ErrandError, match=said):
        stripe.check_once(keep(tmp_path / "journal", charges=charges, refunds=refunds))
