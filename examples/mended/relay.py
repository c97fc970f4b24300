"""Send what is new in the outbox to Kafka: what has not been sent, whatever its number."""

import os

import psycopg
from kafka import KafkaProducer

BATCH = 100

producer = KafkaProducer(bootstrap_servers=os.environ["KAFKA"], acks="all")


def send_new(db: psycopg.Connection) -> int:
    """Send the next lines, and note that they are sent only after Kafka has them."""
    lines = db.execute("SELECT id, payment FROM outbox WHERE NOT sent ORDER BY id LIMIT %s", [BATCH]).fetchall()
    if lines:
        sent = [producer.send("payments", str(payment).encode()) for _, payment in lines]
        for one in sent:
            one.get(timeout=30)
        db.execute("UPDATE outbox SET sent = true WHERE id = ANY(%s)", [[number for number, _ in lines]])
    return len(lines)


with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as db:
    db.execute("LISTEN outbox")
    while True:
        while send_new(db):
            pass
        for _ in db.notifies(timeout=1.0, stop_after=1):
            pass
