"""What is a cart? Items, and what they cost together: counted here, never by the client. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of a cart; `unit_amount` in the cart's minor units."""

    name: str
    unit_amount: int
    quantity: int
    sku: str | None = None

    @property
    def amount(self) -> int:
        """What the line costs, in minor units."""
        return self.unit_amount * self.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class CartDraft:
    """What a client puts; validated. `currency` is an ISO 4217 code."""

    currency: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cart:
    """A cart as it is kept."""

    id: str
    currency: str
    items: Sequence[Item]
    #: a random id drawn at each write, so that no two states of a cart, lost ones included, ever share one; its ETag
    version: str
    #: when it is gone unless somebody writes it again; aware, in UTC
    expires_at: datetime

    @property
    def amount(self) -> int:
        """What all of it costs, in minor units."""
        return sum(item.amount for item in self.items)

    @property
    def etag(self) -> str:
        """The version as an entity tag."""
        return f'"{self.version}"'


def cart_document(cart: Cart) -> dict[str, Any]:
    """Return the cart as the API shows it (docs/design.md, "Shared state")."""
    return {
        "id": cart.id,
        "object": "cart",
        "currency": cart.currency,
        "items": [_item_document(item) for item in cart.items],
        "amount": cart.amount,
        "expires_at": cart.expires_at,
    }


def cart_of(document: Mapping[str, Any], version: str) -> Cart:
    """Return the cart whose document was kept; the amounts in it are counted anew."""
    return Cart(
        id=document["id"],
        currency=document["currency"],
        items=tuple(
            Item(**{name: value for name, value in item.items() if name != "amount"}) for item in document["items"]
        ),
        version=version,
        expires_at=datetime.fromisoformat(document["expires_at"]),
    )


def _item_document(item: Item) -> dict[str, Any]:
    return {
        "name": item.name,
        "sku": item.sku,
        "unit_amount": item.unit_amount,
        "quantity": item.quantity,
        "amount": item.amount,
    }
