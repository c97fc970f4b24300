"""Relays, readers and cleaners on one database and one topic, for writers and days that are in the way."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event
from time import monotonic, time
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging.handlers import each
from paidonce.app.messaging.outcomes import Done
from paidonce.app.settings import Settings
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.pace import PACE
from paidonce.workers.aside import LeftBehindError
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.consumer_member import Member, is_transient
from paidonce.workers.relay_shards import Relay

#: Passes after which a relay that has not finished never will.
PASSES_MOST = 400
#: Seconds after which what has not come to the topic never will.
READ_S = 60.0
INSERT = """
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, created_at)
    VALUES (%s, 'payment', %s, 'payment.captured', %s, '{}', now() - %s * interval '1 day')
"""


def v7(days_ago: int) -> UUID:
    """A UUIDv7 of a moment of that day."""
    time_ms = int((time() - days_ago * 86_400) * 1000)
    return UUID(int=(time_ms << 80) | (0x7 << 76) | (0b10 << 62) | (uuid4().int & 0xFFFFFFFF))


@dataclass
class Rig:
    settings: Settings
    bind: Engine
    relays: list[Relay] = field(default_factory=list)
    #: of the reader of the whole topic
    reader: KafkaConsumer | None = None
    seen: list[Any] = field(default_factory=list)

    def relay(self) -> Relay:
        self.relays.append(Relay(self.settings, self.bind, Event()))
        return self.relays[-1]

    def writer(self, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(db.libpq_dsn(self.settings), **options)

    def read(self, least: int) -> list[Any]:
        """Return what a `read_committed` reader sees on the topic, in its order, once it is `least` records."""
        if self.reader is None:
            self.reader = KafkaConsumer(
                bootstrap_servers=self.settings.kafka,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                metrics_enabled=False,
            )
            topic = self.settings.topic
            self.reader.assign([TopicPartition(topic, one) for one in self.reader.partitions_for_topic(topic) or ()])
        places, deadline = self.reader.assignment(), monotonic() + READ_S
        while monotonic() < deadline:
            # Kafka shows a transaction some moments after its commit was acknowledged.
            ends = self.reader.end_offsets(list(places))
            if len(self.seen) >= least and all(self.reader.position(one) >= ends[one] for one in places):
                return self.seen
            self.seen += [record for batch in self.reader.poll(timeout_ms=200).values() for record in batch]
        raise AssertionError(f"{len(self.seen)} records came, not {least}")

    def v7(self, days_ago: int) -> UUID:
        return v7(days_ago)

    def insert(self, tx: psycopg.Connection[Any], key: str = "k", sequence: int = 1, days_ago: int = 0) -> str:
        """Write an event; its row and its id are of the day so many days ago."""
        id_ = v7(days_ago) if days_ago else new_id()
        tx.execute(INSERT, (id_, key, sequence, days_ago))
        return str(id_)

    def consume(self, name: str, least: int) -> None:
        """Let a consumer do what is on the topic, at least so many messages, and stop."""
        member = Member(self.settings, self.bind, each(name, {"payment.captured": lambda _tx, _message: Done()}))
        try:
            done = 0
            for _ in range(PASSES_MOST):
                if done >= least:
                    return
                done += self.once(member)
            raise AssertionError(f"{done} messages were done, not {least}")
        finally:
            member.source.close()

    def once(self, member: Member) -> int:
        try:
            return member.run_once()
        except Exception as error:
            if is_transient(error):
                return 0
            raise

    def publish(self) -> None:
        """Publish all, and write down that it was, as a relay does when it has been idle for a second."""
        self.drain(self.relays[0] if self.relays else self.relay())
        with self.writer() as tx:
            tx.execute("UPDATE relay_windows SET published = now() WHERE published IS NULL")

    def drain(self, relay: Relay) -> int:
        """Publish all that can be published."""
        count = 0
        for _ in range(PASSES_MOST):
            try:
                published = relay.run_once()
            except (BrokerAwayError, LeftBehindError, psycopg.OperationalError, OperationalError):
                continue
            if not published:
                return count
            count += published
        raise AssertionError("the relay does not come to rest")

    def ids(self, least: int) -> list[str]:
        """Return the ids of all messages on the topic, once there are `least`."""
        return [dict(record.headers)["message-id"].decode() for record in self.read(least)]

    def close(self) -> None:
        for relay in self.relays:
            relay.close()
        if self.reader is not None:
            self.reader.close(autocommit=False)


@pytest.fixture
def settings_without_database(kafka: Kafka, topic: str) -> Settings:
    """Settings for the broker and a topic of one's own, with short leases."""
    return Settings(kafka=kafka.bootstrap, topic=topic, relay_name=f"relay-{topic}", **PACE)


@pytest.fixture
def bind(settings: Settings) -> Iterator[Engine]:
    engine = db.engine(settings, size=8)
    yield engine
    engine.dispose()


@pytest.fixture
def rig(settings: Settings, bind: Engine) -> Iterator[Rig]:
    made = Rig(settings, bind)
    yield made
    made.close()
    # One that a failed test left would hold its database.
    with made.writer(autocommit=True) as tx:
        left = tx.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").fetchall()
        for (gid,) in left:
            tx.execute(f"ROLLBACK PREPARED '{gid}'".encode())
