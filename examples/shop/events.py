"""What happens in the shop? Two events about an order; ids and amounts, never an e-mail address."""

from uuid import UUID

from pydantic import BaseModel


class OrderPlaced(BaseModel):
    """A customer wants something."""

    order: UUID
    item: str
    pieces: int


class OrderReserved(BaseModel):
    """It has left the shelf."""

    order: UUID
