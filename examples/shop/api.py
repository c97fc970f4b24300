"""How does a customer order? `POST /orders` under an Idempotency-Key: one key, one order, one event."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import psycopg
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from psycopg.rows import dict_row
from pydantic import BaseModel, Field
from sqlalchemy import Connection, text

from paidonce import Idempotency, Once, outbox
from shop.events import OrderPlaced

INSERT = text(
    "INSERT INTO shop.orders (id, customer, email, item, pieces) VALUES (:id, :customer, :email, :item, :pieces)"
)
SELECT = "SELECT id, item, pieces, state, receipt_sent FROM shop.orders WHERE id = %s AND customer = %s"


class Order(BaseModel):
    """What the customer wants."""

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=200)
    item: str = Field(max_length=100)
    pieces: int = Field(gt=0, le=100)


class Placed(BaseModel):
    """What the customer is answered."""

    id: UUID


@asynccontextmanager
async def tables(_app: FastAPI) -> AsyncIterator[None]:
    """Make the shop's tables; a real shop has migrations."""
    with psycopg.connect(os.environ["PAIDONCE_DSN"]) as tx:
        tx.execute(Path(__file__).with_name("schema.sql").read_bytes())
    yield


def customer(x_customer: Annotated[str, Header()]) -> str:
    """Say who calls. A real shop reads this from a session or a token."""
    return x_customer


app = FastAPI(title="A shop", lifespan=tables)
idempotency = Idempotency(app, caller=customer)


@app.post("/orders", status_code=201)
async def place(
    order: Order, who: Annotated[str, Depends(customer)], run: Annotated[Once, Depends(idempotency.once)]
) -> Response:
    """Place an order: its row, its event and the answer to its key are one commit."""

    def work(tx: Connection) -> Placed:
        placed = Placed(id=uuid4())
        tx.execute(INSERT, {"id": placed.id, "customer": who, **order.model_dump()})
        event = OrderPlaced(order=placed.id, item=order.item, pieces=order.pieces)
        outbox.append(tx, "order.placed", str(placed.id), event, sequence=1)
        return placed

    return await run(work)


@app.get("/orders/{order_id}")
def show(order_id: UUID, who: Annotated[str, Depends(customer)]) -> dict[str, object]:
    """Say how far an order is."""
    with psycopg.connect(os.environ["PAIDONCE_DSN"], row_factory=dict_row) as tx:
        found = tx.execute(SELECT, (order_id, who)).fetchone()
    if found is None:
        raise HTTPException(404)
    return found
