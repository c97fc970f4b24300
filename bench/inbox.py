"""How many messages a second does one consumer work off, through the inbox, with one ledger row each?

Beside the same handler with one transaction a message. The topic is full before anybody reads;
the clock is the database's: a batch's rows bear the moment at which its transaction began, so no
process's start counts.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import monotonic, sleep, time

import psycopg
from kafka.admin import KafkaAdminClient

from paidonce.bench import broker, children, database, events, one_row
from paidonce.bench.broker import Watcher
from paidonce.bench.errors import BenchError
from paidonce.bench.figures import Figure
from paidonce.bench.grounds import Grounds, build
from paidonce.bench.meters import Meter
from paidonce.bench.samples import rate_of_batches
from paidonce.bench.terms import Terms
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run

ROUNDS = 3
MESSAGES = 100_000
#: It takes each message alone, so that its rate does not depend on how many there are.
PEER_MESSAGES = 10_000
WITHIN_S = 120.0
#: Targets: a multiple of the peer's rate, and messages/s.
LEAST_OF_PEER, RATE = 5.0, 20_000.0
TOPIC = "bench-inbox"
LOOK_S = 0.5
#: When each transaction began (seconds since the epoch), and how many messages were in it.
BATCHES = "SELECT extract(epoch FROM arrived_at)::float8, count(*) FROM inbox GROUP BY 1"


@dataclass(frozen=True, slots=True)
class Round:
    """What one consumer did."""

    #: messages a second
    rate: float
    #: CPU seconds for 100,000 messages, and its resident memory
    cpu_s: float
    peak_mb: float


def measure(terms: Terms) -> list[Figure]:
    """Return the figures of the inbox."""
    with Run() as run:
        grounds = build(run, terms)
        with terms.stage(f"put {MESSAGES:,} messages on the topic"):
            _fill(grounds)
        rounds: dict[str, list[Round]] = defaultdict(list)
        for number in range(ROUNDS):
            for name, (start, messages) in _contenders(grounds).items():
                with terms.stage(f"round {number + 1} of {ROUNDS}: {name}"):
                    rounds[name].append(_round(grounds, start, messages))
                terms.console.print(f"         {rounds[name][-1].rate:,.0f} messages/s", highlight=False)
    return _figures(rounds)


def _fill(grounds: Grounds) -> None:
    """Let the relay put the messages there: they are what a consumer gets."""
    dsn = database.fresh(grounds.server.dsn, "inbox_source")
    events.fill(dsn, MESSAGES, each=1)
    broker.make_topic(grounds.kafka.bootstrap, TOPIC)
    relay = children.product(grounds.run, ["relay"], grounds.settings(dsn, TOPIC))
    with Watcher(grounds.kafka.bootstrap, TOPIC) as watcher:
        watcher.watch(broker.quiet(MESSAGES), within_s=WITHIN_S, what="the relay")
    relay.stop()


Start = Callable[[str], Process]


def _contenders(grounds: Grounds) -> dict[str, tuple[Start, int]]:
    run = grounds.run

    def ours(dsn: str) -> Process:
        return children.worker(run, "bench", ["-m", "paidonce.bench.one_row"], grounds.settings(dsn, TOPIC), wait=False)

    def ledger(dsn: str) -> Process:
        return children.product(run, ["consumer", "ledger"], grounds.settings(dsn, TOPIC), wait=False)

    def theirs(dsn: str) -> Process:
        job = {"dsn": dsn, "bootstrap": grounds.kafka.bootstrap, "topic": TOPIC, "group": f"{TOPIC}-peer"}
        return children.peer(run, "one_transaction_app.py", {**job, "messages": PEER_MESSAGES})

    return {"one row": (ours, MESSAGES), "ledger": (ledger, MESSAGES), "one transaction": (theirs, PEER_MESSAGES)}


def _round(grounds: Grounds, start: Start, messages: int) -> Round:
    dsn = database.fresh(grounds.server.dsn, "inbox")
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute(one_row.TABLE)
        process = start(dsn)
        meter = Meter(process.pid)
        _watch(session, process, meter, messages)
        began_s: Counter[float] = Counter(dict(session.execute(BATCHES)))
    process.stop()
    _forget_groups(grounds.kafka.bootstrap)
    database.drop(grounds.server.dsn, "inbox")
    first, last = (moment - time() + monotonic() for moment in (min(began_s), max(began_s)))
    cpu_s = meter.cpu_s(first, last) / messages * 100_000
    return Round(rate_of_batches(began_s), cpu_s, meter.peak_mb())


def _watch(session: "psycopg.Connection[tuple[float, int]]", process: Process, meter: Meter, messages: int) -> None:
    """Look now and then until all are done: counting costs, and the figures do not come from here."""
    end = monotonic() + WITHIN_S
    while sum(count for _, count in session.execute(BATCHES)) < messages:
        process.check()
        meter.look()
        if monotonic() > end:
            raise BenchError(f"{process.name} did not work off {messages} messages within {WITHIN_S:g} s")
        sleep(LOOK_S)
    meter.look()


def _forget_groups(bootstrap: str) -> None:
    """Let the next round begin at the topic's beginning."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    admin.delete_groups([f"{TOPIC}-{name}" for name in ("bench", "ledger", "peer")])
    admin.close()


def _figures(rounds: dict[str, list[Round]]) -> list[Figure]:
    rates = {name: round(median(one.rate for one in found), 1) for name, found in rounds.items()}
    ours, ledger, theirs = rates["one row"], rates["ledger"], rates["one transaction"]
    unit = "messages/s"
    costs = {name: round(median(one.cpu_s for one in found), 2) for name, found in rounds.items()}
    sizes = {name: round(median(one.peak_mb for one in found), 1) for name, found in rounds.items()}
    return [
        Figure("inbox", unit, ours, "one transaction", theirs, least=LEAST_OF_PEER),
        Figure("inbox", unit, ours, "limit", RATE, least=1.0),
        Figure("inbox ledger", unit, ledger, "one transaction", theirs),
        Figure("inbox CPU", "s/100k messages", costs["one row"], "one transaction", costs["one transaction"]),
        Figure("inbox memory", "MB", sizes["one row"], "one transaction", sizes["one transaction"]),
    ]
