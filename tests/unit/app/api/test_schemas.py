"""The strict models: what the HTTP tests would need too many requests for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from paidonce.app.api.currencies import CURRENCIES
from paidonce.app.api.schemas import AMOUNT_MAX, PaymentCreate, PaymentsPage

GOOD = {"amount": 1, "currency": "EUR", "payment_method": "pm_ok"}


@pytest.mark.parametrize("amount", [1, AMOUNT_MAX])
def test_amounts_up_to_the_bounds(amount):
    assert PaymentCreate.model_validate(GOOD | {"amount": amount}).amount == amount


@pytest.mark.parametrize("amount", [0, AMOUNT_MAX + 1, -1, 2**63, 10**400, 1.0, True, "1", None, [1]])
def test_amounts_beyond_them(amount):
    with pytest.raises(ValidationError):
        PaymentCreate.model_validate(GOOD | {"amount": amount})


def test_currencies_are_those_with_minor_units():
    assert {"EUR", "USD", "JPY", "BHD", "CLF"} <= CURRENCIES
    assert CURRENCIES.isdisjoint({"XXX", "XTS", "XAU", "DEM", "BTC", "eur"})
    assert 150 < len(CURRENCIES) < 180


@given(st.text(max_size=4))
def test_no_other_text_is_a_currency(text):
    try:
        PaymentCreate.model_validate(GOOD | {"currency": text})
    except ValidationError:
        assert text not in CURRENCIES
    else:
        assert text in CURRENCIES


@pytest.mark.parametrize("limit", ["1", "100", "020"])
def test_limits(limit):
    assert PaymentsPage.model_validate({"limit": limit}).limit == int(limit)


@pytest.mark.parametrize("limit", ["0", "101", "+1", "1_0", "1.0", " 1", "\u0661", "", "0x1", "9" * 10])
def test_what_is_no_limit(limit):
    with pytest.raises(ValidationError):
        PaymentsPage.model_validate({"limit": limit})
