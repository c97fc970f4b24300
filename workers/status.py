"""How is it going? `paidonce status`: backlog, lag, leases, effects, dead letters, read from where each is."""

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import orjson
import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine

from paidonce.app import db, installation
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import brakes, dead_letters, effects, parked
from paidonce.app.settings import Settings
from paidonce.workers import cdc_slot, leases, windows
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.broker_lag import lags
from paidonce.workers.broker_marks import Marks
from paidonce.workers.cdc_slot import Slot
from paidonce.workers.consumer import SUBSCRIBERS
from paidonce.workers.consumer_member import group_of
from paidonce.workers.leases import Holder
from paidonce.workers.readings import by_topic, topics_read

#: Counting goes no further: whoever has more than this waiting has seen enough.
WAITING_MOST = 100_000


@dataclass(frozen=True)
class Shard:
    """One shard of the outbox."""

    shard: int
    #: events in no window yet, counted up to WAITING_MOST
    waiting: int
    #: the number of the newest window; 0: there is none
    window: int
    #: the number of the last one that Kafka committed; None: Kafka knows nothing, or does not answer
    in_kafka: int | None


@dataclass(frozen=True)
class Consumer:
    """One consumer of one topic."""

    name: str
    #: records that it has not committed; None: it never committed, or Kafka does not answer
    lag: int | None
    #: messages that wait for a later attempt
    parked: int
    #: seconds since the oldest of them waits
    parked_oldest_s: float | None
    #: why it stands still; None: it does not
    brake: str | None
    #: what it reads
    topic: str


@dataclass(frozen=True)
class DeadLetters:
    """One consumer's dead letters in one state."""

    consumer: str
    state: str
    count: int


@dataclass(frozen=True)
class Status:
    """Everything, at about one moment."""

    outbox: list[Shard]
    consumers: list[Consumer]
    #: state -> how many
    effects: dict[str, int]
    dead_letters: list[DeadLetters]
    leases: list[Holder]
    #: why there is nothing from Kafka; None: there is
    kafka_error: str | None
    #: Debezium's slot, where that publishes instead of a relay: `waiting` and `window` mean nothing then
    cdc: Slot | None = None


def main(settings: Settings, *, as_json: bool) -> None:
    """Print the status; raises SchemaVersionError for a database of another version."""
    found = read(settings)
    if as_json:
        Console(soft_wrap=True, highlight=False, markup=False).print(orjson.dumps(asdict(found)).decode())
    else:
        _show(found)


def read(settings: Settings, *, ended: bool = True) -> Status:
    """Return the status; of a Kafka that is away only that it is.

    `ended`: count the effects that ended too, which reads them all.
    """
    bind = db.engine(settings, size=1)
    try:
        return _read(settings, bind, ended=ended)
    finally:
        bind.dispose()


def _read(settings: Settings, bind: Engine, *, ended: bool) -> Status:
    with bind.connect() as tx:
        db.check_schema(tx)
        count = installation.shards(tx)
        waiting = parked.oldest(tx)
        standing = {one.consumer: one.reason for one in brakes.all_engaged(tx)}
        topics = dict.fromkeys([*SUBSCRIBERS, *waiting, *standing], settings.topic) | topics_read(tx, settings)
        states = effects.count_by_state(tx) if ended else _open_effects(tx)
        dead = [DeadLetters(*one) for one in dead_letters.counts(tx)]
    marks, behind, error = _ask_kafka(settings, count, topics)
    # What is prepared outlives its transaction, so never behind a pooler.
    with psycopg.connect(db.libpq_dsn(settings), autocommit=True, prepare_threshold=None) as session:
        shards = [_shard(session, shard, marks.get(shard)) for shard in range(count)]
        held = leases.holders(session)
        cdc = cdc_slot.look(session, settings.cdc_slot) if settings.cdc_slot else None
    consumers = [
        _consumer(name, behind.get(name), waiting.get(name), standing.get(name), topics[name])
        for name in sorted(topics)
    ]
    return Status(shards, consumers, states, dead, held, error, cdc)


def _open_effects(tx: Connection) -> dict[str, int]:
    states: Counter[str] = Counter()
    for (_, state), (count, _) in effects.open_by_kind(tx).items():
        states[state] += count
    return dict(states)


def _consumer(
    name: str, lag: int | None, waiting: tuple[int, timedelta] | None, brake: str | None, topic: str
) -> Consumer:
    count, oldest_s = (waiting[0], waiting[1].total_seconds()) if waiting else (0, None)
    return Consumer(name, lag, count, oldest_s, brake, topic)


def _ask_kafka(
    settings: Settings, shards: int, topics: dict[str, str]
) -> tuple[dict[int, int], dict[str, int | None], str | None]:
    """Return shard -> number, consumer -> lag, and what went wrong."""
    try:
        behind: dict[str, int | None] = {}
        for topic, names in by_topic(topics).items():
            groups = {group_of(settings, name): name for name in names}
            behind |= {groups[group]: lag for group, lag in lags(settings, topic, groups).items()}
        reader = Marks(settings)
        try:
            found = {shard: reader.read(shard) for shard in range(shards)}
        finally:
            reader.close()
    except (BrokerAwayError, ConfigurationError) as error:
        return {}, {}, str(error)
    return {shard: mark.number for shard, mark in found.items() if mark}, behind, None


def _shard(session: leases.Session, shard: int, in_kafka: int | None) -> Shard:
    newest = windows.newest(session, shard)
    waiting = windows.waiting(session, shard, most=WAITING_MOST)
    return Shard(shard, waiting, newest.number if newest else 0, in_kafka)


def _show(status: Status) -> None:
    console = Console(highlight=False)
    if status.cdc:
        _table(console, "cdc", ("slot", "active", "log", "unread bytes"), [[*asdict(status.cdc).values()]])
    else:
        shards = [[*asdict(one).values()] for one in status.outbox]
        _table(console, "outbox", ("shard", "waiting", "window", "in Kafka"), shards)
    consumers = [[one.name, one.topic, one.lag, one.parked, _rounded(one.parked_oldest_s)] for one in status.consumers]
    _table(console, "consumers", ("name", "topic", "lag", "parked", "oldest, seconds"), consumers)
    for one in status.consumers:
        if one.brake:
            console.print(
                f"{one.name} stands still: {one.brake}; paidonce brake release {one.name}", style="red", soft_wrap=True
            )
    console.print("an idle consumer may lag by one in each partition: the mark that ends a Kafka transaction")
    _table(console, "effects", ("state", "effects"), [[*one] for one in status.effects.items()])
    held = [[one.name, one.owner, one.epoch, f"{one.left_s:.1f}"] for one in status.leases]
    _table(console, "leases", ("name", "owner", "epoch", "seconds left"), held)
    letters = [[*asdict(one).values()] for one in status.dead_letters]
    _table(console, "dead letters", ("consumer", "state", "letters"), letters)
    if status.kafka_error:
        console.print(f"[red]nothing from Kafka:[/red] {status.kafka_error}")


def _rounded(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.0f}"


def _table(console: Console, title: str, names: tuple[str, ...], rows: list[list[Any]]) -> None:
    table = Table(title=title, title_justify="left", show_edge=False)
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row))
    console.print(table, "")
