"""Who saw what happened? The provider's journal, the topic and the merchant's mailbox; chaos/tables.py is the fourth.

Each is read by its own means and not through the code under test: SQLite, a Kafka consumer that
reads committed records from the start, JSON lines.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from paidonce.chaos.facts import Charge, Delivery, ProviderRefund, TopicRecord
from paidonce.chaos.history import lines

CHARGES = "SELECT id, idem_key AS key, reference, status, amount, currency, at FROM charges ORDER BY at"
REFUNDS = "SELECT id, idem_key AS key, reference, charge, status, amount, at FROM refunds ORDER BY at"
CALLS = "SELECT count(*) FROM calls WHERE method = 'POST'"
#: `late`: after the time limit of a call in demo and rig (devstack/pace.py); `nothing`: it died before it answered.
ANSWERS = """
SELECT CASE WHEN method = 'GET' THEN 'look-up' WHEN answered_at IS NULL THEN 'nothing' WHEN status IS NULL THEN 'reset'
            WHEN answered_at - at > 1.0 THEN 'late' ELSE CAST(status AS TEXT) END AS how, count(*)
  FROM calls GROUP BY how
UNION ALL
SELECT 'webhook again', sum(attempts - 1) FROM deliveries WHERE attempts > 1 HAVING count(*) > 0
ORDER BY 1
"""

#: Seconds for reading the whole topic: thousands of records take less than one.
TOPIC_WITHIN_S = 20.0


def journal(path: Path) -> dict[str, Any]:
    """Return the members of `Facts` that the provider's journal knows."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        found = {
            "charges": [Charge(**dict(row)) for row in database.execute(CHARGES)],
            "provider_refunds": [ProviderRefund(**dict(row)) for row in database.execute(REFUNDS)],
            "provider_calls": database.execute(CALLS).fetchone()[0],
            "provider_answers": dict(map(tuple, database.execute(ANSWERS))),
        }
    database.close()
    return found


def copy_journal(path: Path, to: Path) -> None:
    """Copy the journal as it is now, for who looks at the evidence later."""
    source, target = sqlite3.connect(f"file:{path}?mode=ro", uri=True), sqlite3.connect(to)
    source.backup(target)
    # One file, not three: what is copied includes the source's write-ahead mode.
    target.execute("PRAGMA journal_mode = DELETE")
    source.close()
    target.close()


def topic(bootstrap: str, name: str) -> list[TopicRecord]:
    """Return every committed record of a topic, by partition and offset.

    Raises:
        TimeoutError: the topic could not be read to its end.
    """
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap.split(","), isolation_level="read_committed", enable_auto_commit=False
    )
    try:
        partitions = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name) or ())]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        return _read(consumer, consumer.end_offsets(partitions))
    finally:
        consumer.close()


def _read(consumer: KafkaConsumer, ends: Mapping[TopicPartition, int]) -> list[TopicRecord]:
    found, give_up = [], monotonic() + TOPIC_WITHIN_S
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        if monotonic() > give_up:
            raise TimeoutError(f"the topic could not be read to its end within {TOPIC_WITHIN_S:.0f} s")
        for records in consumer.poll(timeout_ms=200).values():
            found += [_record(record) for record in records]
    return sorted(found, key=lambda record: (record.partition, record.offset))


def _record(record: Any) -> TopicRecord:
    headers = {name: (content or b"").decode() for name, content in record.headers}
    return TopicRecord(
        message_id=headers.get("message-id", ""),
        key=(record.key or b"").decode(),
        type=headers.get("ce_type", ""),
        sequence=int(headers.get("ce_sequence", "0")),
        partition=record.partition,
        offset=record.offset,
        at=record.timestamp / 1000,
    )


def mailbox(path: Path) -> Sequence[Delivery]:
    """Return every delivery that the merchants got."""
    return [Delivery(**line) for line in lines(path)]
