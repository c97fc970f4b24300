"""What does a cart cost, and does it come back from where it is kept as it went?"""

from datetime import UTC, datetime

import orjson
from hypothesis import given
from hypothesis import strategies as st

from paidonce.app.carts.model import Cart, Item, cart_document, cart_of
from paidonce.app.documents import as_json

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
ITEMS = st.builds(
    Item,
    name=st.text(min_size=1, max_size=20),
    sku=st.none() | st.text(min_size=1, max_size=9),
    unit_amount=st.integers(0, 99_999_999_999),
    quantity=st.integers(1, 1_000_000),
)


@given(st.lists(ITEMS, min_size=1, max_size=5))
def test_what_is_kept_comes_back_and_costs_the_sum_of_its_lines(items):
    cart = Cart(id="c-1", currency="EUR", items=tuple(items), version="v" * 32, expires_at=AT)
    assert cart_of(orjson.loads(as_json(cart_document(cart))), cart.version) == cart
    document = cart_document(cart)
    assert document["amount"] == sum(line["unit_amount"] * line["quantity"] for line in document["items"])


def test_an_amount_that_was_kept_is_not_believed():
    cart = Cart(id="c", currency="EUR", items=(Item(name="a", unit_amount=5, quantity=3),), version="v", expires_at=AT)
    document = orjson.loads(as_json(cart_document(cart)))
    document["amount"] = document["items"][0]["amount"] = 1
    assert cart_of(document, "v").amount == 15
