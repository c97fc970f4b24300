"""Where are the workers measured? On a durable PostgreSQL and an Apache Kafka compiled for throughput, all alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paidonce.bench import broker, database
from paidonce.bench.broker import Series, Watcher
from paidonce.bench.meters import meters
from paidonce.bench.terms import Terms
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run


@dataclass(frozen=True, slots=True)
class Grounds:
    """The servers of one benchmark."""

    run: Run
    server: database.Server
    kafka: Kafka

    def pids(self) -> dict[str, int]:
        """Return the process ids of those servers that are ours."""
        found = {"PostgreSQL": self.server.pid, "Kafka": self.kafka.process.pid if self.kafka.process else None}
        return {name: pid for name, pid in found.items() if pid is not None}

    def settings(self, dsn: str, topic: str, **more: Any) -> dict[str, Any]:
        """Return settings of the product for a database and a topic of their own; all else is as shipped."""
        return {"dsn": dsn, "kafka": self.kafka.bootstrap, "topic": topic, "relay_name": f"relay-{topic}", **more}


@dataclass(frozen=True, slots=True)
class Drain:
    """What it took to publish the events that were waiting."""

    events: int
    #: from the first record's timestamp to the moment at which the last was readable
    seconds: float
    #: process -> CPU seconds in that time; the publishing one is `it`
    cpu_s: Mapping[str, float]
    #: of the publishing process
    peak_mb: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    def cpu_per_100k(self, process: str) -> float:
        """CPU seconds that the process took for 100,000 events."""
        return self.cpu_s[process] / self.events * 100_000


def build(run: Run, terms: Terms) -> Grounds:
    """Start the servers, or take those that the settings name."""
    with terms.stage("start a durable PostgreSQL and Apache Kafka"):
        grounds = Grounds(run, database.start(run, logical=terms.with_debezium), broker.start(run))
    terms.console.print(f"PostgreSQL {grounds.server.version}", highlight=False)
    return grounds


def drain(
    grounds: Grounds,
    topic: str,
    publish: Callable[[], Process],
    *,
    events: int,
    is_over: Callable[[Process, Series], bool],
    within_s: float,
) -> tuple[Drain, Process]:
    """Make the topic, let `publish` start the process that fills it, and watch until `is_over`; the process runs on."""
    broker.make_topic(grounds.kafka.bootstrap, topic)
    with Watcher(grounds.kafka.bootstrap, topic) as watcher:
        process = publish()
        watched = meters({"it": process.pid} | grounds.pids())
        series = watcher.watch(
            lambda series: is_over(process, series),
            within_s=within_s,
            what=process.name,
            meters=tuple(watched.values()),
        )
        began, ended = watcher.first_sent({}), series.ends[-1][0]
    cpu_s = {name: meter.cpu_s(began, ended) for name, meter in watched.items()}
    return Drain(events, ended - began, cpu_s, watched["it"].peak_mb()), process
