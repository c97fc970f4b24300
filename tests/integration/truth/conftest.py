"""What the tests of truth share: writers, relays in this process, and a reader of the whole topic."""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging import envelope, outbox
from paidonce.app.settings import Settings
from paidonce.devstack.kafka import Kafka, start_kafka
from paidonce.devstack.pace import PACE, environment
from paidonce.devstack.postgres import Postgres, start_postgres
from paidonce.devstack.runs import Run
from paidonce.migrations.upgrade import upgrade
from paidonce.workers import leases, relay_shard, windows
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.broker_marks import Mark, Marks, place
from paidonce.workers.relay_shards import Relay

#: Passes after which a relay that has not finished never will.
PASSES_MOST = 400
#: Seconds after which a test gives up waiting; a busy machine needs some.
BOUND_S = 60.0
#: Both shards have some of these.
KEYS = [f"key-{number}" for number in range(8)]
START = "from paidonce.app.settings import Settings; from paidonce.workers.relay import main; main(Settings())"


@dataclass
class Read:
    """What a `read_committed` reader found on a whole topic."""

    #: message ids, partition by partition
    ids: list[str] = field(default_factory=list)
    #: key -> message ids in the order of its partition
    by_key: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    records: list[Any] = field(default_factory=list)


class Rig:
    """One database, one topic, and relays on them."""

    #: of the fixture `own`
    run: Run
    postgres: Postgres

    def __init__(self, settings: Settings, bind: Engine) -> None:
        self.settings, self.bind = settings, bind
        self.relays: list[Relay] = []

    def relay(self, **options: Any) -> Relay:
        made = Relay(self.settings.model_copy(update=options), self.bind, Event())
        self.relays.append(made)
        return made

    def close(self) -> None:
        for relay in self.relays:
            relay.close()
        self.relays.clear()

    def append(self, *keys: str, first: int = 0, kind: str = "payment", payload: bytes = b"{}") -> list[str]:
        """One transaction with an event for each of `keys`."""
        events = [
            envelope.Event(new_id(), kind, key, f"{kind}.accepted", number, payload, {"traceparent": "00-1"})
            for number, key in enumerate(keys, first)
        ]
        with self.bind.begin() as tx:
            for event in events:
                outbox.append(tx, event, bytes_max=1_000_000)
        return [str(event.id) for event in events]

    def drain(self, relay: Relay) -> int:
        """Pass until nothing is left, and then once more, so that the shards say that they are idle."""
        count = 0
        for _ in range(PASSES_MOST):
            try:
                published = relay.run_once()
            except BrokerAwayError:
                continue
            if not published:
                return count
            count += published
        raise AssertionError("the relay does not come to rest")

    def publish(self, **options: Any) -> int:
        """Publish all there is by a relay of its own, which is gone afterwards."""
        relay = self.relay(**options)
        count = self.drain(relay)
        relay.close()
        self.relays.remove(relay)
        return count

    @property
    def keys(self) -> list[str]:
        """Keys of which both shards have some."""
        return KEYS

    def is_drained(self) -> bool:
        """Whether every event is in a window, and each shard's newest is marked as published."""
        with psycopg.connect(db.libpq_dsn(self.settings), autocommit=True) as session:
            return all(
                (newest := windows.newest(session, shard)) is not None
                and newest.published is not None
                and windows.waiting(session, shard, most=1) == 0
                for shard in range(self.settings.outbox_shards)
            )

    def record_only(self) -> None:
        """Record what comes next as windows, and die before anything is sent."""
        with psycopg.connect(db.libpq_dsn(self.settings), autocommit=True) as session:
            for shard in (0, 1):
                lease = leases.acquire(session, f"relay-shard-{shard}", leases.new_owner(), for_s=60)
                assert lease is not None
                windows.record_next(
                    session, lease, shard, windows.newest(session, shard), events_max=2_000, bytes_max=8_000_000
                )
                leases.release(session, lease)

    def mark(self, shard: int) -> Mark | None:
        """What Kafka has of the shard."""
        marks = Marks(self.settings)
        try:
            return marks.read(shard)
        finally:
            marks.close()

    def set_mark(self, shard: int, mark: Mark) -> None:
        """Set what Kafka has, as an operator's tool does."""
        with self.admin() as admin:
            admin.alter_group_offsets(self.settings.relay_name, {place(self.settings, shard): mark.offset()})

    def forget_marks(self) -> None:
        """Kafka forgets the group, as after a week's silence."""
        with self.admin() as admin:
            admin.delete_group_offsets(
                self.settings.relay_name, [place(self.settings, shard) for shard in range(self.settings.outbox_shards)]
            )

    def one(self, statement: str, *parameters: Any) -> Any:
        row = self.rows(statement, *parameters)
        return row[0][0] if row else None

    def rows(self, statement: str, *parameters: Any) -> list[Any]:
        with psycopg.connect(db.libpq_dsn(self.settings), autocommit=True) as session:
            cursor = session.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def committed(self) -> dict[str, list[str]]:
        """Key -> ids of its committed events, in order."""
        found = defaultdict(list)
        for key, id_ in self.rows("SELECT aggregateid, id::text FROM outbox ORDER BY position"):
            found[key].append(id_)
        return dict(found)

    def read(self, topic: str | None = None) -> Read:
        return read_topic(self.settings, topic or self.settings.topic)

    def check_exactly_once(self) -> int:
        """Every committed event is on the topic once, in order per key, and nothing else; return how many."""
        committed, read = self.committed(), self.read()
        for key, ids in committed.items():
            assert read.by_key.get(key) == ids, key
        assert sum(map(len, committed.values())) == len(read.ids)
        return len(read.ids)

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        client = KafkaAdminClient(bootstrap_servers=self.settings.kafka)
        try:
            yield client
        finally:
            client.close()


def read_topic(settings: Settings, topic: str) -> Read:
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        bootstrap_timeout_ms=10_000,
    )
    found = Read()
    try:
        partitions = [TopicPartition(topic, one) for one in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        deadline = monotonic() + BOUND_S
        while any(consumer.position(one) < ends[one] for one in partitions):
            assert monotonic() < deadline, "the topic does not end: a transaction is open on it"
            for batch in consumer.poll(timeout_ms=200).values():
                for record in batch:
                    id_ = dict(record.headers)["message-id"].decode()
                    found.ids.append(id_)
                    found.by_key[record.key.decode()].append(id_)
                    found.records.append(record)
    finally:
        consumer.close()
    return found


class Writers:
    """Threads that write events, each under its aggregate's lock, until they are stopped."""

    WRITE = "INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload) VALUES (%s, 'payment', %s, 'payment.accepted', %s, '{}')"  # noqa: E501

    def __init__(self, dsn: str, *, count: int = 3, keys: int = 12, pause_s: float = 0.004) -> None:
        self.dsn, self.pause_s, self.stopped, self.errors = dsn, pause_s, Event(), []
        self.keys = [f"key-{number}" for number in range(keys)]
        with psycopg.connect(dsn, autocommit=True) as session:
            session.execute(
                "CREATE TABLE IF NOT EXISTS versions AS SELECT unnest(%s::text[]) AS key, 0::bigint AS n", (self.keys,)
            )
        self.threads = [Thread(target=self._guarded, args=[number]) for number in range(count)]

    def __enter__(self) -> "Writers":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(BOUND_S)
        assert self.errors == []

    def _guarded(self, number: int) -> None:
        try:
            self._write(number)
        except Exception as error:  # noqa: BLE001  a thread's error belongs to the test
            self.errors.append(error)

    def _write(self, number: int) -> None:
        with psycopg.connect(self.dsn) as tx:
            for turn in range(1_000_000):
                if self.stopped.wait(self.pause_s):
                    return
                for at in sorted({(turn * step + number) % len(self.keys) for step in (1, 5)}):
                    key = self.keys[at]
                    row = tx.execute("UPDATE versions SET n = n + 1 WHERE key = %s RETURNING n", (key,)).fetchone()
                    tx.execute(self.WRITE, (new_id(), key, row[0]))
                # Some roll back, so that positions and transaction ids have holes.
                tx.rollback() if turn % 11 == number else tx.commit()


@pytest.fixture
def bind(settings: Settings) -> Iterator[Engine]:
    engine = db.engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def rig(settings: Settings, bind: Engine) -> Iterator[Rig]:
    made = Rig(settings, bind)
    yield made
    made.close()


@pytest.fixture
def rigs() -> Iterator[Callable[[Settings], Rig]]:
    """rigs(settings): one more rig."""
    made: list[Rig] = []

    def make(settings: Settings) -> Rig:
        made.append(Rig(settings, db.engine(settings)))
        return made[-1]

    yield make
    for rig in made:
        rig.close()
        rig.bind.dispose()


@pytest.fixture
def own() -> Iterator[tuple[Rig, Kafka]]:
    """Servers that the test may restart: a rig on them (`rig.run` starts more), and the broker."""
    with Run() as run:
        postgres, kafka = start_postgres(run, durable=True), start_kafka(run)
        settings = Settings(dsn=postgres.dsn, kafka=kafka.bootstrap, **PACE)
        bind = db.engine(settings)
        upgrade(bind, settings)
        rig = Rig(settings, bind)
        rig.run, rig.postgres = run, postgres
        yield rig, kafka
        rig.close()
        bind.dispose()


@pytest.fixture
def relay_process(tmp_path: Path) -> Callable[..., Any]:
    """relay_process(settings): a relay as a process of its own, for the time of a `with`; it ends by SIGTERM."""

    @contextmanager
    def running(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
        named = {name: getattr(settings, name) for name in settings.model_fields_set if name != "provider_secret"}
        told = os.environ | environment(named | {"dsn": settings.dsn.get_secret_value()})
        with (tmp_path / "relay.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-c", START], env=told, stdout=log, stderr=log)
        try:
            yield process
            process.terminate()
            assert process.wait(BOUND_S) == 0
        finally:
            process.kill()
            process.wait()

    return running


@pytest.fixture
def writers() -> Callable[..., Writers]:
    """Writers(dsn, count=, keys=, pause_s=), to be used in a `with`."""
    return Writers


@pytest.fixture
def idle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard without a new event counts as idle at once."""
    monkeypatch.setattr(relay_shard, "IDLE_S", -1.0)
