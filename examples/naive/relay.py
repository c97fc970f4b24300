"""Send what is new in the outbox to Kafka, in order."""

import os
import time

import psycopg
from kafka import KafkaProducer

BATCH = 100

producer = KafkaProducer(bootstrap_servers=os.environ["KAFKA"], acks="all")


def send_new(db: psycopg.Connection) -> int:
    """Send the next lines, and remember how far we are only after Kafka has them."""
    (last,) = db.execute("SELECT last FROM relay_position").fetchone()
    lines = db.execute(
        "SELECT id, payment FROM outbox WHERE id > %s ORDER BY id LIMIT %s",
        [last, BATCH],
    ).fetchall()
    if lines:
        sent = [producer.send("payments", str(payment).encode()) for _, payment in lines]
        for one in sent:
            one.get(timeout=30)
        db.execute("UPDATE relay_position SET last = %s", [lines[-1][0]])
    db.commit()
    return len(lines)


with psycopg.connect(os.environ["DATABASE_URL"]) as db:
    while True:
        if not send_new(db):
            time.sleep(0.02)
