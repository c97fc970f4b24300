"""How fast does kafka-python publish the very records that ours has published, in transactions of the same size?

It reads them from our topic, in the order of their sending, before anything is measured: key,
value, headers and partition are there, so all that is left is the client. Its options are those
with which it was fastest, and nothing is done but `send` and `commit_transaction`.
"""

import json
import os

from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition

JOB = json.loads(os.environ["BENCH_JOB"])


def load() -> list[tuple[int, bytes, bytes, list[tuple[str, bytes]]]]:
    """Return every record of the source topic: partition, key, value, headers."""
    consumer = KafkaConsumer(
        bootstrap_servers=JOB["bootstrap"], isolation_level="read_committed", enable_auto_commit=False
    )
    places = [TopicPartition(JOB["source"], number) for number in consumer.partitions_for_topic(JOB["source"])]
    ends = consumer.end_offsets(places)
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    found = []
    while any(consumer.position(place) < ends[place] for place in places):
        for records in consumer.poll(timeout_ms=500).values():
            found += records
    consumer.close()
    found.sort(key=lambda record: record.timestamp)
    return [(record.partition, record.key, record.value, list(record.headers)) for record in found]


def publish(records: list[tuple[int, bytes, bytes, list[tuple[str, bytes]]]]) -> None:
    """Publish them in transactions of the given size."""
    producer = KafkaProducer(
        bootstrap_servers=JOB["bootstrap"],
        transactional_id=JOB["target"],
        enable_idempotence=True,
        acks="all",
        batch_size=131_072,
        linger_ms=1,
        retry_backoff_ms=2,
        metrics_enabled=False,
    )
    producer.init_transactions()
    for first in range(0, len(records), JOB["transaction_events"]):
        producer.begin_transaction()
        for partition, key, value, headers in records[first : first + JOB["transaction_events"]]:
            producer.send(JOB["target"], key=key, value=value, headers=headers, partition=partition)
        producer.commit_transaction()
    producer.close()


if __name__ == "__main__":
    loaded = load()
    publish(loaded)
    print(json.dumps({"events": len(loaded)}))
