"""Debezium Server on a PostgreSQL of its own, with `wal_level=logical`; the session's Kafka behind it."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import Engine, text

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging import outbox
from paidonce.app.messaging.envelope import Event
from paidonce.app.settings import Settings
from paidonce.devstack import debezium
from paidonce.devstack.errors import TooLateError
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.pace import PACE, environment, new_secret
from paidonce.devstack.postgres import Postgres, start_postgres
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until
from paidonce.migrations.upgrade import upgrade
from paidonce.workers.broker_admin import Topics

#: Seconds after which a test gives up: Debezium alone needs 6 to start, 45 on a busy machine.
BOUND_S = 300.0
#: Looks at a topic after which it does not end.
LOOKS_MOST = 2_000


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """A test of this folder starts Debezium, some of them four times."""
    for item in items:
        if item.get_closest_marker("cdc"):
            item.add_marker(pytest.mark.timeout(900))


@dataclass
class Rig:
    run: Run
    settings: Settings
    bind: Engine
    #: the DSN of Debezium's role; empty before `prepare`
    role: str = ""
    slot: str = field(default_factory=lambda: f"cdc_{uuid4().hex[:8]}")
    debezium: Process | None = None
    started: list[Process] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return self.settings.dsn.get_secret_value()

    def prepare(self) -> None:
        self.role = debezium.prepare(self.dsn, self.settings.kafka, slot=self.slot)

    def start(self, topic: str = "", **more: str) -> Process:
        named = {name.replace("_", "."): value for name, value in more.items()}
        self.debezium = debezium.start(
            self.run,
            dsn=self.role,
            kafka=self.settings.kafka,
            topic=topic or self.settings.topic,
            slot=self.slot,
            name=self.slot,
            quick=True,
            more=named,
        )
        return self.debezium

    def kill(self) -> None:
        """End Debezium with `-9`."""
        assert self.debezium is not None
        self.debezium.send(signal.SIGKILL)
        self.debezium.end(within_s=10)
        self.debezium = None

    def stop(self) -> None:
        """Stop Debezium in order."""
        if self.debezium is not None:
            self.debezium.stop(within_s=60)
            self.debezium = None

    def ours(self, *arguments: str, **changed: Any) -> Process:
        """Start one of our own processes: `relay`, `consumer charges`."""
        settings = self.settings.model_copy(update=changed)
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        named = {name: value for name, value in given.items() if value is not None}
        named |= {name: getattr(settings, name).get_secret_value() for name in ("dsn", "provider_secret")}
        name = f"{self.slot}-{'-'.join(arguments)}-{uuid4().hex[:4]}"
        argv = [sys.executable, "-m", "paidonce.cli", *arguments]
        process = self.run.start(Command(name, argv, self.run.folder, self.run.environment(environment(named))))
        self.started.append(process)
        return process

    def append(self, *keys: str, first: int = 0, **changed: Any) -> list[str]:
        """One transaction with an event for each key, numbered from `first`; return the message ids."""
        with self.bind.begin() as tx:
            return [self.one(tx, key, number, **changed) for number, key in enumerate(keys, first)]

    def one(self, tx: Any, key: str, number: int, **changed: Any) -> str:
        values = {"aggregatetype": "payment", "type": "payment.captured", "payload": b"{}"} | changed
        event = Event(new_id(), aggregateid=key, sequence=number, **values)
        outbox.append(tx, event, bytes_max=self.settings.message_bytes_max)
        return str(event.id)

    def records(self, topic: str = "") -> list[Any]:
        """Everything that a `read_committed` reader finds, partition by partition."""
        consumer = self.reader(topic)
        try:
            partitions = sorted(consumer.assignment())
            ends = consumer.end_offsets(partitions)
            found: list[Any] = []
            for _ in range(LOOKS_MOST):
                if all(consumer.position(one) >= ends[one] for one in partitions):
                    return found
                found += [record for batch in consumer.poll(timeout_ms=200).values() for record in batch]
            raise AssertionError("the topic does not end")
        finally:
            consumer.close()

    def ids(self) -> list[str]:
        return [dict(record.headers)["message-id"].decode() for record in self.records()]

    def reader(self, topic: str = "") -> KafkaConsumer:
        """A `read_committed` reader of the whole topic from its start."""
        name = topic or self.settings.topic
        consumer = KafkaConsumer(
            bootstrap_servers=self.settings.kafka,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        consumer.assign([TopicPartition(name, one) for one in consumer.partitions_for_topic(name) or ()])
        return consumer

    def arrived(self, wanted: Sequence[str], topic: str = "") -> None:
        """Wait until all of these messages are on the topic."""
        missing = set(wanted)
        consumer = self.reader(topic)

        def all_there() -> bool:
            for batch in consumer.poll(timeout_ms=200).values():
                missing.difference_update(dict(record.headers)["message-id"].decode() for record in batch)
            return not missing

        try:
            self.wait(all_there, f"{len(wanted)} events on the topic")
        finally:
            consumer.close()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait with a bound; a process that has ended meanwhile says so itself."""

        def so_far() -> bool:
            for process in [*self.started, *([self.debezium] if self.debezium else [])]:
                process.check()
            return condition()

        try:
            until(so_far, within_s=BOUND_S, what=what)
        except TooLateError as error:
            error.add_note(self.debezium.tail(40) if self.debezium else "Debezium was not started")
            raise

    def column(self, statement: str) -> list[Any]:
        with self.bind.connect() as tx:
            return list(tx.scalars(text(statement)))

    def row(self, statement: str) -> tuple[Any, ...]:
        with self.bind.connect() as tx:
            return tuple(tx.execute(text(statement)).one())

    def scalar(self, statement: str) -> Any:
        return self.column(statement)[0]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure past pytest's capture: what a reader of `make test-cdc` wants to see."""

    def tell(words: str) -> None:
        with capsys.disabled():
            print(f"\n    {words}")

    return tell


@pytest.fixture(scope="session")
def own_run() -> Iterator[Run]:
    with Run() as started:
        yield started


@pytest.fixture(scope="session")
def logical(own_run: Run) -> Postgres:
    """A PostgreSQL that writes what CDC reads."""
    return start_postgres(own_run, durable=False, more=debezium.LOGICAL)


@pytest.fixture
def rig(own_run: Run, logical: Postgres, kafka: Kafka, topic: str) -> Iterator[Rig]:
    """A fresh migrated database, its topic, and nothing that publishes yet."""
    name = f"paidonce_{uuid4().hex[:12]}"
    with psycopg.connect(logical.dsn, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name}".encode())
    settings = Settings(
        dsn=urlsplit(logical.dsn)._replace(path=f"/{name}").geturl(),
        kafka=kafka.bootstrap,
        topic=topic,
        relay_name=f"relay-{topic}",
        provider_secret=new_secret(),
        **PACE,
    )
    bind = db.engine(settings)
    upgrade(bind, settings)
    with Topics(settings) as topics:
        topics.ensure([topic])
    made = Rig(own_run, settings, bind)
    yield made
    for process in made.started:
        process.stop()
    made.started.clear()
    made.stop()
    active = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{made.slot}' AND active"
    made.wait(lambda: made.scalar(active) == 0, "the slot to be free")
    debezium.drop_slot(made.dsn, made.slot)
    bind.dispose()
    with psycopg.connect(logical.dsn, autocommit=True) as session:
        session.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
