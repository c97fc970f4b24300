"""What may a request say of a cart, and how does a cart look? Strict, as the rest (app/api/schemas.py)."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from paidonce.app.api.schemas import (
    AMOUNT_MAX,
    Body,
    CurrencyCode,
    Identifier,
    Line,
    Metadata,
    MethodToken,
    Text,
)

#: Lines of a cart: what fits into a body of 64 KB with names of some length.
ITEMS_MAX = 200
QUANTITY_MAX = 1_000_000


class CartItem(Body):
    """One line of a cart."""

    name: Line
    sku: Line | None = None
    unit_amount: Annotated[int, Field(ge=0, le=AMOUNT_MAX, description="Integer minor units; 0 for a gift.")]
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX)]


class CartPut(Body):
    """A cart, whole. What it costs is counted by the server."""

    currency: CurrencyCode
    items: Annotated[list[CartItem], Field(min_length=1, max_length=ITEMS_MAX)]

    @model_validator(mode="after")
    def _can_be_paid(self) -> Self:
        if not 1 <= sum(item.unit_amount * item.quantity for item in self.items) <= AMOUNT_MAX:
            raise ValueError(f"all items together must cost 1 to {AMOUNT_MAX}")
        return self


class CartCheckout(Body):
    """How a cart is paid. Amount and currency are the cart's own."""

    payment_method: MethodToken = Field(description="The provider's token of card or account.")
    customer_id: Identifier | None = Field(None, description="A customer that exists.")
    reference: Line | None = Field(None, description="Your own reference; it need not be unique.")
    description: Text | None = None
    metadata: Metadata = Field(default_factory=dict)


class CartLine(BaseModel):
    """One line of a cart, with what it costs."""

    name: str
    sku: str | None
    unit_amount: int
    quantity: int
    amount: int


class Cart(BaseModel):
    """A cart."""

    id: str
    object: str = "cart"
    currency: str
    items: list[CartLine]
    amount: int
    expires_at: datetime
