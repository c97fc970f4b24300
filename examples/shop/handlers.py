"""What follows from an order? `stock` takes it from the shelf, `receipts` has the customer written to.

Each handler works in the transaction that it is given, and nowhere else: what it wrote counts once, or not at all.
"""

from datetime import timedelta

from sqlalchemy import Connection, text

from paidonce import Done, Message, Poison, RetryLater, effects, handler, outbox
from shop.events import OrderPlaced, OrderReserved
from shop.receipts import Receipt

#: The row's lock makes orders of one item wait for each other, and no others.
TAKE = text("UPDATE shop.stock SET pieces = pieces - :pieces WHERE item = :item AND pieces >= :pieces")
KNOWN = text("SELECT 1 FROM shop.stock WHERE item = :item")
MOVE = text("INSERT INTO shop.movements (order_id, item, pieces) VALUES (:order, :item, :pieces)")
STATE = text("UPDATE shop.orders SET state = :state WHERE id = :order")
EMAIL = text("SELECT email, item, pieces FROM shop.orders WHERE id = :order")


@handler("order.placed", consumer="stock")
def reserve(tx: Connection, placed: OrderPlaced) -> Done | Poison:
    """Take an order's pieces from the shelf, and say so in an event of its own."""
    if tx.execute(KNOWN, {"item": placed.item}).first() is None:
        return Poison(f"we do not sell {placed.item}")
    wanted = placed.model_dump()
    if tx.execute(TAKE, wanted).rowcount == 0:
        tx.execute(STATE, {"order": placed.order, "state": "sold_out"})
        return Done()
    tx.execute(MOVE, wanted)
    tx.execute(STATE, {"order": placed.order, "state": "reserved"})
    outbox.append(tx, "order.reserved", str(placed.order), OrderReserved(order=placed.order), sequence=2)
    return Done()


@handler("order.reserved", consumer="receipts")
def write_receipt(tx: Connection, reserved: OrderReserved, message: Message) -> Done | RetryLater:
    """Let the executor of receipts.py write to the customer: a handler itself never leaves the database."""
    row = tx.execute(EMAIL, {"order": reserved.order}).first()
    if row is None:  # restored from a backup, say: the order may still come
        return RetryLater(timedelta(seconds=30), f"there is no order {reserved.order} yet ({message.message_id})")
    receipt = Receipt(order=reserved.order, to=row.email, item=row.item, pieces=row.pieces)
    effects.enqueue(tx, "receipt", str(reserved.order), receipt)
    return Done()
