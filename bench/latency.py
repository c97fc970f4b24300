"""How long after its commit can a `read_committed` reader read an event, at a steady rate? And what does idling cost?

One process commits events, each in a transaction of its own with the hint that the API gives,
and notes when the commit's answer came; another polls the topic and notes when each came. Both
read this machine's clock.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from paidonce.bench import broker, children, database, debezium
from paidonce.bench.errors import BenchError
from paidonce.bench.figures import Figure
from paidonce.bench.grounds import Grounds, build
from paidonce.bench.meters import meters
from paidonce.bench.samples import percentile
from paidonce.bench.terms import Terms
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

#: Events a second -> seconds. At 5 a second a minute gives 300 delays: their p99 is the fourth largest.
LOADS = {500: 20.0, 5: 60.0}
#: Seconds before each, whose delays do not count: Java compiles, which takes some thousand transactions (a fresh
#: broker takes twice as long for one), and whatever was asleep wakes up.
WARM_S = {500: 40.0, 5: 10.0}
#: Seconds of idling.
IDLE_S = 60.0
CONNECTIONS = 4
#: Seconds until the last event is readable, or something is wrong.
LATE_S = 20.0
#: Targets: milliseconds, and CPU seconds a minute.
P50_MS, P99_MS, IDLE_CPU_S = 8.0, 30.0, 1.0


@dataclass(frozen=True, slots=True)
class Delays:
    """What one load gave."""

    #: events a second, as it was
    rate: float
    #: milliseconds from commit to readable, of each event
    ms: list[float]


@dataclass(frozen=True, slots=True)
class Found:
    """What one contender gave: its delays by events a second, and CPU seconds a minute when idle."""

    delays: dict[int, Delays]
    idle_s: float


#: Publishes from a database into a topic while the block lasts.
Publishing = Callable[[Grounds, str, str], AbstractContextManager[Process]]


def measure(terms: Terms) -> list[Figure]:
    """Return the figures; raises BenchError when an event never came."""
    with Run() as run:
        grounds = build(run, terms)
        ours = _found(terms, grounds, "ours", _relay)
        theirs = _found(terms, grounds, "debezium", debezium.running) if terms.with_debezium else None
    return figures_of(ours, theirs)


def delays_of(written: dict[str, Any], read: dict[str, int], warm: int) -> Delays:
    """Return the delays of all but the first `warm` events; raises BenchError when one was not read."""
    committed = sorted(written["committed"].items(), key=lambda one: one[1])
    lost = [event for event, _ in committed if event not in read]
    if lost:
        raise BenchError(f"{len(lost)} of {len(committed)} events could not be read in time, {lost[0]} among them")
    return Delays(len(committed) / written["seconds"], [(read[event] - at) / 1e6 for event, at in committed[warm:]])


def figures_of(ours: Found, theirs: Found | None) -> list[Figure]:
    """Return the figures beside the limits, and beside a peer if there is one."""
    figures = []
    for rate, found in ours.delays.items():
        name = "latency" if rate == max(ours.delays) else f"latency {rate}/s"
        figures.append(Figure(name, "events/s", round(found.rate, 1), "asked", rate))
        for part, share, limit_ms in ((" p50", 0.50, P50_MS), (" p99", 0.99, P99_MS)):
            ms = round(percentile(found.ms, share), 2)
            figures.append(Figure(name + part, "ms", ms, "limit", limit_ms, most=1.0))
            if theirs:
                peer_ms = round(percentile(theirs.delays[rate].ms, share), 2)
                figures.append(Figure(name + part, "ms", ms, "debezium", peer_ms))
    figures.append(Figure("latency idle", "CPU s/minute", ours.idle_s, "limit", IDLE_CPU_S, most=1.0))
    if theirs:
        figures.append(Figure("latency idle", "CPU s/minute", ours.idle_s, "debezium", theirs.idle_s))
    return figures


@contextmanager
def _relay(grounds: Grounds, dsn: str, topic: str) -> Iterator[Process]:
    relay = children.product(grounds.run, ["relay"], grounds.settings(dsn, topic))
    try:
        yield relay
    finally:
        relay.stop()


def _found(terms: Terms, grounds: Grounds, name: str, publishing: Publishing) -> Found:
    topic = f"bench-latency-{name}"
    dsn = database.fresh(grounds.server.dsn, topic)
    broker.make_topic(grounds.kafka.bootstrap, topic)
    delays: dict[int, Delays] = {}
    with publishing(grounds, dsn, topic) as process:
        for rate, seconds in LOADS.items():
            with terms.stage(f"{name}: {rate} events/s for {seconds:g} s"):
                delays[rate] = _delays(grounds, dsn, topic, rate, seconds)
        with terms.stage(f"{name}: idle for {IDLE_S:g} s"):
            idle_s = _idle(process)
    return Found(delays, idle_s)


def _delays(grounds: Grounds, dsn: str, topic: str, rate: int, seconds: float) -> Delays:
    warm_s = WARM_S[rate]
    events, warm = round(rate * (seconds + warm_s)), round(rate * warm_s)
    ready = grounds.run.folder / f"{topic}-{rate}"
    reading = {
        "bootstrap": grounds.kafka.bootstrap,
        "topic": topic,
        "events": events,
        "within_s": seconds + warm_s + LATE_S,
        "ready": str(ready),
    }
    reader = children.program(grounds.run, "paidonce.bench.reader", reading)
    what = "the reader to stand at the topic's end"
    until(partial(_is_there, reader, ready), within_s=children.START_S, what=what)
    writing = {"dsn": dsn, "rate": rate, "events": events, "connections": min(CONNECTIONS, rate)}
    writer = children.program(grounds.run, "paidonce.bench.writer", writing)
    within_s = seconds + warm_s + 2 * LATE_S
    written = children.result(writer, within_s=within_s)
    return delays_of(written, children.result(reader, within_s=within_s)["read"], warm)


def _is_there(reader: Process, ready: Path) -> bool:
    reader.check()
    return ready.exists()


def _idle(process: Process) -> float:
    """Return the CPU seconds a minute of a process that has nothing to do."""
    [meter] = meters({"it": process.pid}).values()
    began = monotonic()
    sleep(IDLE_S)
    meter.look()
    process.check()
    return round(meter.cpu_s(began, monotonic()) * 60 / IDLE_S, 2)
