"""Take payments: a row, and a line in the outbox in the same transaction."""

import os
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from pydantic import BaseModel

app = FastAPI()
pool = ConnectionPool(
    os.environ["DATABASE_URL"],
    min_size=10,
    max_size=20,
    kwargs={"row_factory": dict_row},
    check=ConnectionPool.check_connection,
)


class Payment(BaseModel):
    """What the client sends."""

    amount: int
    currency: str
    method: str


@app.get("/health")
def health() -> dict[str, Any]:
    """Say that we are there."""
    return {"ok": True}


@app.post("/payments", status_code=201)
def pay(payment: Payment, idempotency_key: Annotated[str, Header()]) -> dict[str, Any]:
    """Accept a payment, unless we have it already."""
    with pool.connection() as db:
        new = db.execute(
            "INSERT INTO payments (key, amount, currency, method) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (key) DO NOTHING RETURNING id, status",
            [idempotency_key, payment.amount, payment.currency, payment.method],
        ).fetchone()
        if new is None:
            # A duplicate that is under way was waited for: its row is there.
            seen = db.execute("SELECT id, status FROM payments WHERE key = %s", [idempotency_key]).fetchone()
            assert seen
            return seen
        db.execute("INSERT INTO outbox (payment) VALUES (%s)", [new["id"]])
        db.execute("NOTIFY outbox")
        return new


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
