"""How fast is the same handler with one transaction a message? As such a consumer is written by hand, and written well.

Inbox row and ledger row go in one prepared statement, which is the whole transaction: one round
trip a message. Offsets are committed once a poll.
"""

import json
import os
import uuid

import psycopg
from kafka import KafkaConsumer

JOB = json.loads(os.environ["BENCH_JOB"])

RECORD = """
WITH new AS (
    INSERT INTO inbox (consumer, message_id) VALUES ('bench', %s) ON CONFLICT DO NOTHING RETURNING message_id
)
INSERT INTO bench_ledger (transaction_id, tenant, currency, amount, payment_id)
SELECT %s, %s, %s, %s, %s FROM new
"""


def main() -> None:
    """Work off as many messages as the job names."""
    consumer = KafkaConsumer(
        JOB["topic"],
        bootstrap_servers=JOB["bootstrap"],
        group_id=JOB["group"],
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        metrics_enabled=False,
    )
    done = 0
    with psycopg.connect(JOB["dsn"], autocommit=True, prepare_threshold=0) as session:
        while done < JOB["messages"]:
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    document = json.loads(record.value)
                    payment = document["data"]["payment"]
                    row = [document["tenant"], payment["currency"], payment["amount"], payment["id"]]
                    session.execute(RECORD, [dict(record.headers)["message-id"].decode(), uuid.uuid4(), *row])
                done += len(records)
            consumer.commit()
    consumer.close()
    print(json.dumps({"done": done}))


if __name__ == "__main__":
    main()
