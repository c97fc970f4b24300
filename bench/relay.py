"""How fast does one relay publish what waits in the outbox, exactly once? Beside kafka-python itself, and its peers.

Rounds of all take turns. Each drains a copy of the same table into a topic of its own; the clock
runs from the first record's timestamp to the moment at which a `read_committed` reader could read
the last, so no process's start counts. Ours is then read whole: each event once, in order.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median

from paidonce.app.settings import Settings
from paidonce.bench import broker, children, database, debezium, events
from paidonce.bench.broker import Series
from paidonce.bench.figures import Figure
from paidonce.bench.grounds import Drain, Grounds, build, drain
from paidonce.bench.terms import Terms
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run

ROUNDS = 3
EVENTS = 200_000
#: It takes each event alone, so that its rate does not depend on how many there are.
FASTSTREAM_EVENTS = 20_000
#: Of those tried (1 to 64 workers, batches of 100 to 1,000) the fastest.
FASTSTREAM = {"workers": 64, "fetch": 1_000, "flush": 100}
#: Seconds for one drain: ten times what it takes.
WITHIN_S = 120.0
#: Targets: shares of kafka-python's own rate and multiples of the peers'; events/s.
LEAST_OF_CLIENT, LEAST_OF_FASTSTREAM, LEAST_OF_DEBEZIUM = 0.8, 8.0, 1.2
LIBRDKAFKA_RATE = 100_000.0


@dataclass(frozen=True, slots=True)
class Round:
    """One drain, and the dead rows that it left in its table."""

    drain: Drain
    dead: int = 0


Rounds = Mapping[str, list[Round]]


def measure(terms: Terms) -> list[Figure]:
    """Return the figures of the relay; raises BenchError when something was not published exactly once."""
    with Run() as run:
        grounds = build(run, terms)
        with terms.stage(f"put {EVENTS:,} events into the outbox, {FASTSTREAM_EVENTS:,} into the peer's"):
            _fill(grounds)
        with terms.stage("one drain that does not count, for the servers to warm up"):
            _ours(grounds, "warm", "kafka-python", 0)
        rounds: dict[str, list[Round]] = defaultdict(list)
        for number in range(ROUNDS):
            for name, one in _contenders(grounds, terms).items():
                with terms.stage(f"round {number + 1} of {ROUNDS}: {name}"):
                    rounds[name].append(one(number))
                terms.console.print(f"         {rounds[name][-1].drain.rate:,.0f} events/s", highlight=False)
            broker.remove_topic(grounds.kafka.bootstrap, _topic("ours", number))
    return _figures(rounds)


def _fill(grounds: Grounds) -> None:
    dsn = database.fresh(grounds.server.dsn, "waiting")
    events.fill(dsn, EVENTS)
    database.settle(dsn)
    dsn = database.empty(grounds.server.dsn, "waiting_peer")
    children.result(
        children.peer(grounds.run, "faststream_app.py", {"prepare": True, "dsn": dsn, **FASTSTREAM}), within_s=WITHIN_S
    )
    events.fill_peer(dsn, FASTSTREAM_EVENTS)
    database.settle(dsn)


def _contenders(grounds: Grounds, terms: Terms) -> dict[str, Callable[[int], Round]]:
    found: dict[str, Callable[[int], Round]] = {
        "ours": partial(_ours, grounds, "ours", "kafka-python"),
        "kafka-python": partial(_kafka_python, grounds),
        "faststream": partial(_faststream, grounds),
    }
    if find_spec("confluent_kafka"):
        found["ours with librdkafka"] = partial(_ours, grounds, "librdkafka", "librdkafka")
    else:
        terms.console.print("without librdkafka: pip install 'paidonce[librdkafka]'")
    if terms.with_debezium:
        found["debezium"] = lambda number: Round(debezium.drained(grounds, _topic("debezium", number), EVENTS))
    return found


def _ours(grounds: Grounds, name: str, client: str, number: int) -> Round:
    topic, database_name = _topic(name, number), f"{name}_{number}"
    dsn = database.copied(grounds.server.dsn, database_name, template="waiting")
    settings = grounds.settings(dsn, topic, kafka_client=client)
    drained, process = drain(
        grounds,
        topic,
        partial(children.product, grounds.run, ["relay"], settings, wait=False),
        events=EVENTS,
        is_over=_all_and_quiet,
        within_s=WITHIN_S,
    )
    process.stop()
    broker.check_exactly_once(grounds.kafka.bootstrap, topic, EVENTS)
    found = Round(drained, database.dead_rows(dsn, "outbox"))
    database.drop(grounds.server.dsn, database_name)
    if name != "ours":
        broker.remove_topic(grounds.kafka.bootstrap, topic)
    return found


def _kafka_python(grounds: Grounds, number: int) -> Round:
    topic = _topic("kafka-python", number)
    job = {
        "bootstrap": grounds.kafka.bootstrap,
        "source": _topic("ours", number),
        "target": topic,
        "transaction_events": Settings.model_fields["relay_window_events"].default,
    }
    start = partial(children.peer, grounds.run, "kafka_python_app.py", job)
    over: Callable[[Process, Series], bool] = lambda process, _: not process.alive()  # noqa: E731  beside its like
    drained, process = drain(grounds, topic, start, events=EVENTS, is_over=over, within_s=WITHIN_S)
    children.result(process, within_s=WITHIN_S)
    broker.check_exactly_once(grounds.kafka.bootstrap, topic, EVENTS)
    broker.remove_topic(grounds.kafka.bootstrap, topic)
    return Round(drained)


def _faststream(grounds: Grounds, number: int) -> Round:
    topic, database_name = _topic("faststream", number), f"faststream_{number}"
    dsn = database.copied(grounds.server.dsn, database_name, template="waiting_peer")
    job = {"dsn": dsn, "bootstrap": grounds.kafka.bootstrap, "topic": topic, **FASTSTREAM}
    start = partial(children.peer, grounds.run, "faststream_app.py", job)
    drained, process = drain(
        grounds,
        topic,
        start,
        events=FASTSTREAM_EVENTS,
        is_over=lambda process, series: _working(process) and series.last >= FASTSTREAM_EVENTS,
        within_s=WITHIN_S,
    )
    process.stop()
    found = Round(drained, database.dead_rows(dsn, "outbox"))
    database.drop(grounds.server.dsn, database_name)
    broker.remove_topic(grounds.kafka.bootstrap, topic)
    return found


def _all_and_quiet(process: Process, series: Series) -> bool:
    return _working(process) and broker.quiet(EVENTS)(series)


def _working(process: Process) -> bool:
    process.check()
    return True


def _topic(name: str, number: int) -> str:
    return f"bench-{name}-{number}"


def _figures(rounds: Rounds) -> list[Figure]:
    ours = rounds["ours"]
    figures = [
        Figure("relay", "events/s", _rate(ours), "kafka-python", _rate(rounds["kafka-python"]), LEAST_OF_CLIENT),
        Figure("relay", "events/s", _rate(ours), "faststream", _rate(rounds["faststream"]), LEAST_OF_FASTSTREAM),
    ]
    quick = rounds.get("ours with librdkafka")
    if quick:
        figures.append(Figure("relay librdkafka", "events/s", _rate(quick), "limit", LIBRDKAFKA_RATE, 1.0))
    if quick and "debezium" in rounds:
        theirs = _rate(rounds["debezium"])
        figures.append(Figure("relay librdkafka", "events/s", _rate(quick), "debezium", theirs, LEAST_OF_DEBEZIUM))
    dead = [median(one.dead / one.drain.events * 100_000 for one in rounds[name]) for name in ("ours", "faststream")]
    figures.append(Figure("relay n_dead_tup", "rows/100k events", dead[0], "faststream", dead[1], most=0.0))
    return [*figures, *_costs(rounds)]


def _costs(rounds: Rounds) -> list[Figure]:
    ours = rounds["ours"]
    beside = [name for name in ("kafka-python", "faststream", "ours with librdkafka", "debezium") if name in rounds]
    unit = "CPU s/100k events"
    figures = [
        Figure(f"relay CPU{label}", unit, _cpu(ours, process), name, _cpu(rounds[name], process))
        for process, label in (("it", ""), ("PostgreSQL", " of PostgreSQL"), ("Kafka", " of Kafka"))
        for name in beside
        if process in ours[0].drain.cpu_s
    ]
    # The one that publishes from memory holds all events in it: that says nothing.
    sizes = [name for name in beside if name != "kafka-python"]
    return [*figures, *(Figure("relay memory", "MB", _peak(ours), name, _peak(rounds[name])) for name in sizes)]


def _rate(rounds: list[Round]) -> float:
    return round(median(one.drain.rate for one in rounds), 1)


def _cpu(rounds: list[Round], process: str) -> float:
    return round(median(one.drain.cpu_per_100k(process) for one in rounds), 3)


def _peak(rounds: list[Round]) -> float:
    return round(median(one.drain.peak_mb for one in rounds), 1)
