"""How fast is Debezium Server in the relay's place? Under the configuration of docs/cdc.md, compiled for throughput.

At least once, where ours is exactly once. Where its rate is measured it writes fewer headers than
ours (`PLAIN`: each costs it time), and is warm: as many events as are measured went through it
before, since Java's compiler makes it twice as fast by then.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from paidonce.bench import broker, database, events
from paidonce.bench.broker import Series, Watcher
from paidonce.bench.grounds import Drain, Grounds
from paidonce.bench.meters import meters
from paidonce.devstack import debezium
from paidonce.devstack.processes import Process

#: Seconds for one drain, five times what it takes.
WITHIN_S = 120.0


def drained(grounds: Grounds, topic: str, count: int) -> Drain:
    """Return what it took Debezium to publish `count` events, after as many that do not count."""
    dsn = database.fresh(grounds.server.dsn, topic)
    broker.make_topic(grounds.kafka.bootstrap, topic)
    with Watcher(grounds.kafka.bootstrap, topic) as watcher:
        with running(grounds, dsn, topic, more=debezium.PLAIN) as process:
            events.fill(dsn, count, seed="warm-")
            watcher.watch(partial(_over, process, count), within_s=WITHIN_S, what="Debezium to warm up")
            before = watcher.ends()
            watched = meters({"it": process.pid} | grounds.pids())
            events.fill(dsn, count)
            over = partial(_over, process, sum(before.values()) + count)
            series = watcher.watch(over, within_s=WITHIN_S, what="Debezium", meters=tuple(watched.values()))
        began, ended = watcher.first_sent(before), series.ends[-1][0]
    database.drop(grounds.server.dsn, topic)
    broker.remove_topic(grounds.kafka.bootstrap, topic)
    cpu_s = {name: meter.cpu_s(began, ended) for name, meter in watched.items()}
    return Drain(count, ended - began, cpu_s, watched["it"].peak_mb())


@contextmanager
def running(grounds: Grounds, dsn: str, topic: str, *, more: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Debezium Server behind the outbox of `dsn`, streaming into `topic`, which exists; `more` over its file."""
    slot = topic.replace("-", "_")
    role = debezium.prepare(dsn, grounds.kafka.bootstrap, slot=slot)
    process = debezium.start(
        grounds.run,
        dsn=role,
        kafka=grounds.kafka.bootstrap,
        topic=topic,
        slot=slot,
        name=f"debezium-{topic}",
        more=more,
    )
    try:
        yield process
    finally:
        process.stop()
        debezium.drop_slot(dsn, slot)


def _over(process: Process, at_least: int, series: Series) -> bool:
    process.check()
    return series.last >= at_least
