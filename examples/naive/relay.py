"""Send what is new in the outbox to Kafka, in order."""

import os

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
    return len(lines)


with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as db:
    db.execute("LISTEN outbox")
    while True:
        while send_new(db):
            pass
        for _ in db.notifies(timeout=1.0, stop_after=1):
            pass
