"""When was each event committed? Writes events at a steady rate, one transaction each, with a hint after each commit.

An open loop: each event has its time, whatever became of those before it. A process of its own,
with its job as JSON in BENCH_JOB; its last line of output is JSON.
"""

import json
import os
import time
from dataclasses import dataclass
from threading import Thread
from typing import Any
from uuid import UUID

import psycopg

from paidonce.app.clock import new_id
from paidonce.app.messaging.hint import Hinter

INSERT = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers)
VALUES (%s, 'payment', %s, 'payment.accepted', 1, %s, '{}')
"""
#: Bytes, as in bench/events.py.
PAYLOAD = json.dumps({"tenant": "acme", "data": {"payment": {"description": "x" * 340}}}).encode()


@dataclass(frozen=True, slots=True)
class Job:
    """What to write."""

    dsn: str
    #: events a second, and how many
    rate: float
    events: int
    #: each writes every so-manieth event; one alone would wait for the disk with the next event due
    connections: int


def main() -> None:
    """Write the job's events; print when each was committed, as {id: nanoseconds since the epoch}."""
    job = Job(**json.loads(os.environ["BENCH_JOB"]))
    hinter = Hinter(job.dsn)
    committed: dict[UUID, int] = {}
    began = time.monotonic()
    threads = [Thread(target=_write, args=(job, first, began, hinter, committed)) for first in range(job.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    hinter.close()
    print(json.dumps({"seconds": seconds, "committed": {str(one): at for one, at in committed.items()}}))


def _write(job: Job, first: int, began: float, hinter: Hinter, committed: dict[UUID, int]) -> None:
    session: psycopg.Connection[Any]
    with psycopg.connect(job.dsn, autocommit=True, prepare_threshold=0) as session:
        for number in range(first, job.events, job.connections):
            # Each event has its moment, so that the rate is the asked one whatever a write takes.
            time.sleep(max(0.0, began + number / job.rate - time.monotonic()))
            event = new_id()
            session.execute(INSERT, [event, str(new_id()), PAYLOAD])
            # The answer to the commit is there: from now on the event counts as accepted.
            committed[event] = time.time_ns()
            hinter.hint()


if __name__ == "__main__":
    main()
