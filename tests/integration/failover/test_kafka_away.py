"""Is an outage of Kafka only a pause? The API accepts, nothing counts as an attempt, and the backlog drains in order.

The broker is killed and comes back after a minute; later it stands still for longer than every time
limit of the relay. Our processes stay the same ones throughout.
"""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
import pytest

from paidonce.chaos import tables, witnesses
from paidonce.chaos.checkers import events
from paidonce.chaos.drain import Drained, drain
from paidonce.chaos.facts import Facts, TopicRecord
from paidonce.chaos.outages import end
from paidonce.devstack.kafka import restart_broker
from paidonce.devstack.stack import Stack

pytestmark = [pytest.mark.failover, pytest.mark.timeout(400)]

#: Seconds that the broker is away: killed, and standing still for longer than leases, sessions and Kafka's limits.
KILLED_S, STILL_S = 60, 12
PER_S = 4
#: Seconds for the backlog of a minute, charges, bookings and webhooks included.
DRAIN_S = 120.0

#: Files and sockets that a process may have open beyond those before the outage: what fails to connect in ten seconds.
MORE_FILES_MOST = 50

#: What was seen at the end of an outage: payments that no consumer had seen, and open files by process.
Held = tuple[int, Counter[str]]

STARTS = "SELECT count(*) FROM starts WHERE alone_starts > 0"
ATTEMPTS = "SELECT attempts, count(*) FROM effects WHERE kind = 'charge' GROUP BY attempts"


@dataclass
class Outage:
    """What was seen during and after one outage."""

    answers: Counter[int]
    #: payments that no consumer had seen when the broker came back
    pending: int
    drained: Drained
    #: attempts -> charges; and messages that somebody counted a start against
    attempts: dict[int, int]
    starts: int
    facts: Facts
    restarts: int
    #: how many more files and sockets each process had open at the end of the outage than before
    more_files: Counter[str]


@pytest.fixture(scope="module")
def seen(payer_of: Callable[..., Any]) -> Iterator[dict[str, Outage]]:
    with Stack() as stack:
        broker = stack.servers.kafka.process
        assert broker is not None
        payer = payer_of(stack, PER_S)

        def killed() -> Held:
            end(broker, signal.SIGKILL)
            payer.for_s(KILLED_S)
            held = _pending(stack), _files(stack)
            restart_broker(stack.run, broker)
            return held

        def still() -> Held:
            broker.send(signal.SIGSTOP)
            payer.for_s(STILL_S)
            held = _pending(stack), _files(stack)
            broker.send(signal.SIGCONT)
            return held

        yield {"still": _outage(stack, payer, still), "killed": _outage(stack, payer, killed)}


def _outage(stack: Stack, payer: Any, do: Callable[[], Held]) -> Outage:
    with payer.paying():
        payer.for_s(3)
        before, files = len(payer.answers), _files(stack)
        pending, files_after = do()
        payer.for_s(3)
    drained = drain(stack.addresses.dsn, lambda _: None, within_s=DRAIN_S)
    with tables.connect(stack.addresses.dsn) as connection:
        facts = Facts(**tables.tables(connection), topic=witnesses.topic(stack.addresses.kafka, stack.settings.topic))
        attempts, starts = _attempts(connection)
    restarts = sum(stack.restarts(name) for name in stack.names())
    answers, more_files = Counter(payer.answers[before:]), files_after - files
    return Outage(answers, pending, drained, attempts, starts, facts, restarts, more_files)


def _pending(stack: Stack) -> int:
    with tables.connect(stack.addresses.dsn) as connection:
        return sum(row.status == "pending" for row in tables.tables(connection)["payments"])


def _files(stack: Stack) -> Counter[str]:
    """Return how many files and sockets each of our processes has open."""
    pids = stack.pids()
    return Counter({name: psutil.Process(pids[name]).num_fds() for name in stack.names()})


def _attempts(connection: psycopg.Connection[Any]) -> tuple[dict[int, int], int]:
    started = connection.execute(STARTS).fetchone()
    assert started is not None
    return dict(connection.execute(ATTEMPTS).fetchall()), started[0]


@pytest.mark.parametrize(("how", "seconds"), [("killed", KILLED_S), ("still", STILL_S)])
def test_the_api_goes_on_accepting_and_the_backlog_drains(seen: dict[str, Outage], how: str, seconds: int) -> None:
    outage = seen[how]
    assert set(outage.answers) == {201}
    assert outage.pending >= 0.8 * seconds * PER_S
    assert outage.drained.stuck == {}
    assert {row.status for row in outage.facts.payments} == {"captured"}


@pytest.mark.parametrize("how", ["killed", "still"])
def test_no_attempt_is_counted_against_any_message(seen: dict[str, Outage], how: str) -> None:
    outage = seen[how]
    assert outage.attempts == {1: len(outage.facts.payments)}
    assert outage.starts == 0
    assert (outage.facts.parked, outage.facts.dead_letters) == ([], [])


def test_every_process_gets_over_it_by_itself(seen: dict[str, Outage]) -> None:
    assert {how: outage.restarts for how, outage in seen.items()} == {"killed": 0, "still": 0}


def test_no_process_holds_on_to_the_sockets_that_could_not_connect(seen: dict[str, Outage]) -> None:
    """kafka-python leaves them to the collector, which would not come by itself (paidonce.workers.garbage)."""
    more = seen["killed"].more_files
    assert more["relay"] > 0
    assert {name: number for name, number in more.items() if number > MORE_FILES_MOST} == {}


def test_after_it_stood_still_every_event_is_on_the_topic_once_and_in_order(seen: dict[str, Outage]) -> None:
    facts = seen["still"].facts
    assert events.published_once(facts) == (len(facts.events), [])
    assert events.in_order(facts)[1] == []


def test_after_it_was_killed_no_event_is_missing_or_out_of_order(seen: dict[str, Outage]) -> None:
    """A single broker may take part of the window along that it was killed in (docs/design.md, "Relay"), never more."""
    facts = seen["killed"].facts
    first: dict[str, TopicRecord] = {}
    for record in facts.topic:
        first.setdefault(record.message_id, record)
    alone = Facts(events=facts.events, topic=[*first.values()])
    assert events.published_once(alone) == (len(facts.events), [])
    assert events.in_order(alone)[1] == []
    assert len(facts.topic) - len(first) <= PER_S * 2
