"""A consumer of its own group on a topic of its own, whose handler writes one row for each message it does."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from time import monotonic
from uuid import uuid4

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError
from sqlalchemy import Connection, Engine, text

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging.envelope import Event, Message, encode
from paidonce.app.messaging.handlers import Handler, Subscriber, each
from paidonce.app.messaging.outcomes import Done, Outcome
from paidonce.app.settings import Settings
from paidonce.devstack.waiting import until
from paidonce.workers.consumer_member import Member, is_transient

PARTITIONS = 3
#: Seconds after which a test gives up waiting.
BOUND_S = 60.0


def work_on(tx: Connection, message: Message) -> Outcome:
    """The plainest handler: one more row each time it runs."""
    tx.execute(
        text("INSERT INTO worked (message_id, key) VALUES (:id, :key)"), {"id": message.message_id, "key": message.key}
    )
    return Done()


class Threads:
    """Members that run side by side, as processes do."""

    def __init__(self, *members):
        self.stopped, self.errors = Flag(), []
        self.threads = [Thread(target=self._run, args=[member], daemon=True) for member in members]
        for thread in self.threads:
            thread.start()

    def _run(self, member):
        while not self.stopped.is_set():
            try:
                member.run_once()
            except Exception as error:
                if not is_transient(error):
                    self.errors.append(error)
                    raise

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(timeout=20)
        assert self.errors == []


@dataclass
class Rig:
    settings: Settings
    bind: Engine
    producer: KafkaProducer
    admin: KafkaAdminClient
    name: str = field(default_factory=lambda: f"test-{uuid4().hex[:8]}")
    members: list[Member] = field(default_factory=list)
    threads: list[Threads] = field(default_factory=list)

    def event(self, key: str = "k") -> Event:
        return Event(new_id(), "payment", key, "payment.captured", 1, b"{}")

    def note(self, tx: Connection, message: Message) -> Outcome:
        return work_on(tx, message)

    def send(self, events: Sequence[Event], partition: int = 0) -> None:
        for one in events:
            self.raw(one.aggregateid.encode(), one.payload, encode(one, datetime.now(UTC)), partition)
        self.producer.flush(timeout=BOUND_S)

    def raw(self, key: bytes | None, value: bytes | None, headers: list, partition: int = 0) -> None:
        self.producer.send(self.settings.topic, key=key, value=value, headers=headers, partition=partition)

    def member(self, work: Handler | Subscriber = work_on, **changed: object) -> Member:
        subscriber = work if isinstance(work, Subscriber) else each(self.name, {"payment.captured": work})
        member = Member(self.settings.model_copy(update=changed), self.bind, subscriber)
        self.members.append(member)
        return member

    def leave(self, member: Member) -> None:
        self.members.remove(member)
        member.close()

    def abandon(self, member: Member) -> None:
        """Leave as a killed process does: nothing is given back."""
        member.source._give_back = lambda partitions: None
        self.leave(member)

    def run(self, *members: Member, until: Callable[[], bool]) -> None:
        """Pass through the members until it is so; disturbances are tried again as the runner does."""
        deadline, disturbed = monotonic() + BOUND_S, []
        while not until():
            assert monotonic() < deadline, f"not within {BOUND_S} s; disturbed by {disturbed[-5:]}"
            for member in members:
                try:
                    member.run_once()
                except Exception as error:
                    if not is_transient(error):
                        raise
                    disturbed.append(repr(error))

    def side_by_side(self, *members: Member) -> Threads:
        """Let the members run in threads of their own until `stop()`, or the test's end."""
        self.threads.append(Threads(*members))
        return self.threads[-1]

    def until(self, is_so: Callable[[], bool]) -> None:
        """Look until it is so."""
        until(is_so, within_s=BOUND_S, what="what the test waits for")

    def pass_through(self, member: Member) -> None:
        """Pass through the member until it raises."""
        for _ in range(100):
            member.run_once()

    def worked(self) -> list[str]:
        return self.column("SELECT message_id FROM worked ORDER BY position")

    def worked_keys(self) -> list[str]:
        return self.column("SELECT key FROM worked ORDER BY position")

    def column(self, statement: str, **parameters: object) -> list:
        with self.bind.connect() as tx:
            return list(tx.scalars(text(statement), parameters))

    def scalar(self, statement: str, **parameters: object) -> object:
        return self.column(statement, **parameters)[0]

    def rows(self, statement: str) -> list:
        with self.bind.connect() as tx:
            return list(tx.execute(text(statement)))

    def dead(self) -> list:
        return self.rows("SELECT message_id, key, envelope, value, reason FROM dead_letters ORDER BY id")

    def committed(self, partition: int = 0) -> int | None:
        """The group's offset as Kafka has it."""
        group = f"{self.settings.topic}-{self.name}"
        try:
            found = self.admin.list_group_offsets(group)[group]
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
            return None
        known = found.get(TopicPartition(self.settings.topic, partition))
        return known.offset if known else None


@pytest.fixture(scope="session")
def admin(kafka) -> Iterator[KafkaAdminClient]:
    made = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    yield made
    made.close()


@pytest.fixture(scope="session")
def producer(kafka) -> Iterator[KafkaProducer]:
    made = KafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=2, max_request_size=4_000_000)
    yield made
    made.close()


@pytest.fixture
def rig(settings: Settings, producer: KafkaProducer, admin: KafkaAdminClient) -> Iterator[Rig]:
    admin.create_topics([NewTopic(settings.topic, PARTITIONS, 1, topic_configs={"segment.ms": str(86_400_000)})])
    bind = db.engine(settings, lock_timeout_ms=settings.consumer_lock_timeout_ms)
    with bind.begin() as tx:
        tx.execute(text("CREATE TABLE worked (position bigserial, message_id text, key text)"))
    made = Rig(settings, bind, producer, admin)
    yield made
    for together in made.threads:
        together.stop()
    for member in list(made.members):
        made.leave(member)
    bind.dispose()


@pytest.fixture
def start(rig, tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    running = []

    def begin(killer: str = "", **changed: object) -> subprocess.Popen:
        settings = rig.settings.model_copy(update=changed)
        # Only what was set: a default goes without saying, and not each is written as an environment has it.
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        named = {f"PAIDONCE_{name.upper()}": str(value) for name, value in given.items() if value is not None}
        named["PAIDONCE_DSN"] = settings.dsn.get_secret_value()
        named["PAIDONCE_PROVIDER_SECRET"] = settings.provider_secret.get_secret_value()
        script = Path(__file__).with_name("a_consumer.py")
        argv = [sys.executable, str(script), rig.name, killer]
        with (tmp_path / f"{len(running)}.log").open("w+") as log:
            process = subprocess.Popen(argv, env=os.environ | named, stdout=log, stderr=subprocess.STDOUT)
        process.log = Path(log.name)
        running.append(process)
        return process

    yield begin
    for process in running:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
