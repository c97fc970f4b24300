"""When could a `read_committed` reader read each event? Polls a topic, in a process of its own.

Its job is JSON in BENCH_JOB; its last line of output is JSON.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaConsumer

from paidonce.bench.broker import partitions

#: Milliseconds of one poll: returns at once when there is a record.
POLL_MS = 100


@dataclass(frozen=True, slots=True)
class Job:
    """What to read."""

    bootstrap: str
    topic: str
    #: from the topic's present end on: so many, or as many as come within `within_s` seconds
    events: int
    within_s: float
    #: made when the reader stands at the topic's end
    ready: str


def main() -> None:
    """Read the job's events; print when each came, as {message id: nanoseconds since the epoch}."""
    job = Job(**json.loads(os.environ["BENCH_JOB"]))
    consumer = KafkaConsumer(
        bootstrap_servers=job.bootstrap.split(","),
        isolation_level="read_committed",
        enable_auto_commit=False,
        metrics_enabled=False,
    )
    places = partitions(consumer, job.topic)
    consumer.assign(places)
    consumer.seek_to_end(*places)
    for place in places:
        consumer.position(place)
    Path(job.ready).touch()
    read: dict[str, int] = {}
    end = time.monotonic() + job.within_s
    while len(read) < job.events and time.monotonic() < end:
        found = consumer.poll(timeout_ms=POLL_MS)
        now = time.time_ns()
        for records in found.values():
            for record in records:
                read.setdefault(dict(record.headers)["message-id"].decode(), now)
    consumer.close()
    print(json.dumps({"read": read}))


if __name__ == "__main__":
    main()
