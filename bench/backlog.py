"""Does a relay slow down when very much is waiting? Its rate at a million events beside its rate at ten thousand.

Also while a transaction that began before all of them stays open: it has a row of its own in the
outbox, and nobody knows when it will commit.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

import psycopg

from paidonce.bench import broker, children, database, events
from paidonce.bench.broker import Series, Watcher
from paidonce.bench.figures import Figure
from paidonce.bench.grounds import Grounds, build
from paidonce.bench.meters import meters
from paidonce.bench.terms import Terms
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run

ROUNDS = 3
MANY, FEW = 1_000_000, 10_000
#: Times that few are committed and drained in one round, after one that does not count.
BURSTS = 8
#: Of the many, offsets after which the rate is taken, and over how many: the first windows open connections.
WARM, PART = 20_000, 200_000
#: Seconds for one drain.
WITHIN_S = 180.0
#: Seconds without anything new after which a burst is over: several transactions.
QUIET_S = 0.3
#: The targets: the rate and the memory at a million are within 20 % of those at ten thousand.
LEAST, MOST = 0.8, 1.2

#: A writer that never comes to its commit; taking a transaction id early is what makes it old.
OPEN = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)
VALUES (uuidv7(), 'payment', 'slow', 'payment.accepted', 1, '{}')
"""


def measure(terms: Terms) -> list[Figure]:
    """Return the figures."""
    rates: dict[str, list[float]] = defaultdict(list)
    peaks_mb: dict[str, float] = {}
    with Run() as run:
        grounds = build(run, terms)
        with terms.stage(f"put {MANY:,} events into the outbox"):
            dsn = database.fresh(grounds.server.dsn, "many")
            events.fill(dsn, MANY)
            database.settle(dsn)
        with terms.stage("one round that does not count, for the servers to warm up"):
            _few(grounds, ROUNDS)
        for number in range(ROUNDS):
            with terms.stage(f"round {number + 1} of {ROUNDS}: {FEW:,} waiting, {BURSTS} times"):
                rate, peaks_mb["few"] = _few(grounds, number)
                rates["few"].append(rate)
            whole = number == ROUNDS - 1
            with terms.stage(f"round {number + 1} of {ROUNDS}: {MANY:,} waiting" + (", to the end" if whole else "")):
                rate, peaks_mb["many"] = _many(grounds, number, whole=whole)
                rates["many"].append(rate)
            with terms.stage(f"round {number + 1} of {ROUNDS}: the same behind a transaction that stays open"):
                rates["open"].append(_behind(grounds, number))
            said = ", ".join(f"{name} {found[-1]:,.0f}" for name, found in rates.items())
            terms.console.print(f"         events/s: {said}", highlight=False)
    return _figures(rates, peaks_mb)


def _few(grounds: Grounds, number: int) -> tuple[float, float]:
    """Return the median rate of the bursts, and the relay's peak memory (MB)."""
    name = f"few-{number}"
    dsn = database.fresh(grounds.server.dsn, name)
    rates = []
    with _relay(grounds, name, dsn, wait=True) as (watcher, relay):
        [meter] = meters({"relay": relay.pid}).values()
        for burst in range(BURSTS + 1):
            before = watcher.ends()
            events.fill(dsn, FEW, seed=f"burst-{burst}-")
            over = broker.quiet(sum(before.values()) + FEW, quiet_s=QUIET_S)
            series = watcher.watch(partial(_over, relay, over), within_s=WITHIN_S, what="a burst", meters=(meter,))
            rates.append(FEW / (series.ends[-1][0] - watcher.first_sent(before)))
    database.drop(grounds.server.dsn, name)
    return median(rates[1:]), meter.peak_mb()


def _many(grounds: Grounds, number: int, *, whole: bool) -> tuple[float, float]:
    """Return the rate, and the relay's peak memory (MB), over the whole drain or the measured part of it."""
    name = f"many-{number}"
    dsn = database.copied(grounds.server.dsn, name, template="many")
    found = _part(grounds, name, dsn, whole=whole)
    database.drop(grounds.server.dsn, name)
    return found


def _behind(grounds: Grounds, number: int) -> float:
    name = f"open-{number}"
    dsn = database.fresh(grounds.server.dsn, name)
    with psycopg.connect(dsn) as slow:
        slow.execute(OPEN)
        events.fill(dsn, MANY)
        database.settle(dsn)
        rate, _ = _part(grounds, name, dsn, whole=False)
        slow.rollback()
    database.drop(grounds.server.dsn, name)
    return rate


def _part(grounds: Grounds, topic: str, dsn: str, *, whole: bool) -> tuple[float, float]:
    with _relay(grounds, topic, dsn, wait=False) as (watcher, relay):
        [meter] = meters({"relay": relay.pid}).values()
        over = broker.quiet(MANY) if whole else lambda series: series.last >= WARM + PART
        series = watcher.watch(partial(_over, relay, over), within_s=WITHIN_S, what="the relay", meters=(meter,))
    if whole:
        broker.check_exactly_once(grounds.kafka.bootstrap, topic, MANY)
    broker.remove_topic(grounds.kafka.bootstrap, topic)
    return PART / (series.when(WARM + PART) - series.when(WARM)), meter.peak_mb()


@contextmanager
def _relay(grounds: Grounds, topic: str, dsn: str, *, wait: bool) -> Iterator[tuple[Watcher, Process]]:
    broker.make_topic(grounds.kafka.bootstrap, topic)
    relay = children.product(grounds.run, ["relay"], grounds.settings(dsn, topic), wait=wait)
    try:
        with Watcher(grounds.kafka.bootstrap, topic) as watcher:
            yield watcher, relay
    finally:
        relay.stop()


def _over(relay: Process, is_over: broker.IsOver, series: Series) -> bool:
    relay.check()
    return is_over(series)


def _figures(rates: dict[str, list[float]], peaks_mb: dict[str, float]) -> list[Figure]:
    few, many, behind = (round(median(rates[name]), 1) for name in ("few", "many", "open"))
    beside, unit = f"{FEW:,} waiting", "events/s"
    memory = [round(peaks_mb[name], 1) for name in ("many", "few")]
    return [
        Figure("backlog", unit, many, beside, few, least=LEAST, most=MOST),
        Figure("backlog behind an open transaction", unit, behind, beside, few, least=LEAST, most=MOST),
        Figure("backlog memory", "MB", memory[0], beside, memory[1], most=MOST),
    ]
