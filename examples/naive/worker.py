"""Charge what comes from Kafka."""

import os
import time
import uuid
from typing import Any

import httpx
import psycopg
from kafka import KafkaConsumer
from psycopg.rows import dict_row

provider = httpx.Client(base_url=os.environ["PROVIDER_URL"], timeout=1.0)


def charge(payment: dict[str, Any]) -> dict[str, Any]:
    """Charge at the provider; three attempts, because the network is not always there."""
    for attempt in range(3):
        try:
            answer = provider.post(
                "/v1/charges",
                headers={"Idempotency-Key": str(uuid.uuid4())},
                json={
                    "amount": payment["amount"],
                    "currency": payment["currency"],
                    "payment_method": payment["method"],
                    "reference": str(payment["id"]),
                },
            )
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError):
            time.sleep(0.2 * 2**attempt)
    return {"status": "failed"}


def handle(db: psycopg.Connection, payment_id: str) -> None:
    """Charge a payment that is still pending, and note how it ended."""
    with db.transaction():
        payment = db.execute("SELECT * FROM payments WHERE id = %s", [payment_id]).fetchone()
        if payment["status"] != "pending":
            return
        result = charge(payment)
        db.execute("UPDATE payments SET status = %s WHERE id = %s", [result["status"], payment_id])


consumer = KafkaConsumer(
    "payments",
    bootstrap_servers=os.environ["KAFKA"],
    group_id="charges",
    enable_auto_commit=False,
    auto_offset_reset="earliest",
    session_timeout_ms=2000,
    heartbeat_interval_ms=500,
)
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, row_factory=dict_row) as db:
    while True:
        for messages in consumer.poll(timeout_ms=500, max_records=20).values():
            for message in messages:
                handle(db, message.value.decode())
        consumer.commit()
