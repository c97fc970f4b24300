"""Which version of which cart was paid already? The home of the table `cart_checkouts`.

A cart lives in Valkey, which may lose its removal or bring an old one back; a row here does not
go away. So the version, not the cart, is what can be paid once (docs/design.md, "Shared state").
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from paidonce.app.tables import cart_checkouts


@dataclass(frozen=True, slots=True)
class CartVersion:
    """One state of one cart of a tenant."""

    tenant: str
    cart_id: str
    version: str


@dataclass(frozen=True, slots=True)
class Checkout:
    """Which payment it made, and the hash of the request that asked for it."""

    payment_id: UUID
    request_hash: str


def take(tx: Connection, cart: CartVersion, checkout: Checkout) -> bool:
    """Take the version for a payment; False when another has it. Waits on one that is not committed yet."""
    statement = insert(cart_checkouts).values(
        tenant=cart.tenant,
        cart_id=cart.cart_id,
        version=cart.version,
        payment_id=checkout.payment_id,
        request_hash=checkout.request_hash,
    )
    return tx.execute(statement.on_conflict_do_nothing().returning(cart_checkouts.c.version)).first() is not None


def find(tx: Connection, cart: CartVersion) -> Checkout | None:
    """Return what became of the version; None when nobody has paid it."""
    table = cart_checkouts
    where = (table.c.tenant == cart.tenant) & (table.c.cart_id == cart.cart_id) & (table.c.version == cart.version)
    row = tx.execute(select(table.c.payment_id, table.c.request_hash).where(where)).first()
    return None if row is None else Checkout(row.payment_id, row.request_hash)
