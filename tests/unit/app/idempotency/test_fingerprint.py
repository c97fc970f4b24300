from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from paidonce.app.idempotency.fingerprint import _canonical, fingerprint

BASE: dict[str, Any] = {
    "method": "POST",
    "path": "/v1/payments",
    "query": "",
    "media_type": "application/json",
    "body": {"amount": 100, "currency": "EUR", "metadata": {"a": "1", "b": "2"}},
}


def test_the_order_of_members_does_not_matter() -> None:
    body = {"metadata": {"b": "2", "a": "1"}, "currency": "EUR", "amount": 100}
    assert fingerprint(**BASE) == fingerprint(**BASE | {"body": body})


@pytest.mark.parametrize(
    "other",
    [
        {"method": "PUT"},
        {"path": "/v1/payments/"},
        {"query": "a=1"},
        {"media_type": "application/merge-patch+json"},
        {"body": None},
        {"body": BASE["body"] | {"amount": 101}},
        {"body": BASE["body"] | {"description": None}},
        {"path": "/v1/payment", "query": "s"},
    ],
)
def test_everything_else_does(other: dict[str, Any]) -> None:
    assert fingerprint(**BASE) != fingerprint(**BASE | other)


def test_it_is_the_recipe_that_stored_rows_were_made_with() -> None:
    """Changing the recipe needs a new HASH_VERSION, or each running retry becomes a conflict."""
    assert fingerprint(**BASE) == "bfd60be7dcc7288d2664bdb61e1c3331e56023e742b8d6a2ee7b61ca6429bf17"


json_without_floats = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_without_floats)
def test_the_body_is_hashed_in_the_form_of_rfc_8785(body: Any) -> None:
    assert _canonical(body) == rfc8785.dumps(body)
