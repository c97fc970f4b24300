"""Kafka calls a transaction complete and has left partitions open: the shard's next owner ends them rightly.

The broker does so when it restarts at the wrong moment. Here it is brought about by hand: with the broker's check of
transactions off, a producer writes into partitions that the coordinator does not know to be in the transaction.
"""

import signal
from collections.abc import Iterator
from random import Random
from threading import Event
from time import monotonic
from typing import Any

import psycopg
import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.producer.transaction_manager import TransactionalRequestResult, TxnOffsetCommitHandler
from kafka.structs import ConsumerGroupMetadata
from structlog.testing import capture_logs

from paidonce.devstack.kafka import restart_broker
from paidonce.workers import relay_open, windows
from paidonce.workers.broker import transactional_id
from paidonce.workers.broker_marks import Mark, place
from paidonce.workers.broker_open import OpenTransactions
from paidonce.workers.relay_topics import Routes

#: Restarts of the broker: before the cure, 2 of 5 repeated a part of a window.
RESTARTS = 4


@pytest.fixture
def unchecked(rig: Any) -> Iterator[None]:
    """The broker does not ask the coordinator whether a partition is in a transaction."""
    name = "transaction.partition.verification.enable"
    with rig.admin() as admin:
        (broker,) = [str(one["broker_id"]) for one in admin.describe_cluster()["brokers"]]
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, broker, {name: "false"})])
        yield
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, broker, {name: "true"})])


class Careless(KafkaProducer):
    """A shard's producer that sends without telling the coordinator: at its successor's start all of it stays open."""

    def __init__(self, rig: Any, shard: int) -> None:
        self.rig, self.shard = rig, shard
        super().__init__(
            bootstrap_servers=rig.settings.kafka,
            transactional_id=transactional_id(rig.settings, shard),
            allow_auto_create_topics=False,
        )
        self.init_transactions()
        self.begin_transaction()

    def leave_open(self, stored: list[Any]) -> set[tuple[str, int]]:
        routes = Routes(self.rig.settings, self.rig.bind)
        routes.learn([self.rig.settings.topic])
        records = routes.records(stored)
        for record in records:
            at = TopicPartition(record.topic, record.partition)
            self._transaction_manager._partitions_in_transaction.add(at)
            self.send(at.topic, key=record.key, value=record.value, headers=record.headers, partition=at.partition)
        self.flush(10)
        return {(record.topic, record.partition) for record in records}

    def leave_mark_open(self, mark: Mark) -> None:
        """Send the mark, and nothing before it that would make it part of the transaction."""
        result, manager = TransactionalRequestResult(), self._transaction_manager
        group = ConsumerGroupMetadata(group_id=self.rig.settings.relay_name)
        offsets = {place(self.rig.settings, self.shard): mark.offset()}
        with manager._lock:
            manager._pending_txn_offset_commits.update(offsets)
            manager._enqueue_request(TxnOffsetCommitHandler(manager, group, offsets, result))
        self._sender.wakeup()
        assert result.wait(timeout_ms=10_000)

    def go(self) -> None:
        self._sender.force_close()
        self.close(timeout=0)


def newest(rig: Any, shard: int = 0) -> tuple[windows.Window, list[Any]]:
    with psycopg.connect(rig.settings.dsn.get_secret_value(), autocommit=True) as session:
        window = windows.newest(session, shard)
        assert window is not None
        return window, windows.events_of(session, window)


def open_now(rig: Any, shard: int = 0) -> set[tuple[str, int]]:
    with OpenTransactions(rig.settings) as transactions:
        return {(one.topic, one.partition) for one in transactions.find(shard, [rig.settings.topic])}


def test_what_was_aborted_stays_away(rig: Any, unchecked: None) -> None:
    """The events of a window that Kafka does not have: without the cure, the next commit brings them along twice."""
    rig.append(*rig.keys)
    rig.publish()
    rig.append(*rig.keys, first=10)
    rig.record_only()
    _, events = newest(rig)
    producer = Careless(rig, 0)
    touched = producer.leave_open(events)
    producer.go()
    assert open_now(rig) == touched
    with capture_logs() as logs:
        rig.publish()
    assert [log["end"] for log in logs if log["event"] == "transaction_was_left_open"] == ["aborted"]
    assert open_now(rig) == set()
    assert rig.check_exactly_once() == 2 * len(rig.keys)


@pytest.mark.slow
def test_what_was_committed_appears(rig: Any, unchecked: None) -> None:
    """The mark of a window is there, its events are still open: they are committed, not aborted."""
    rig.append(*rig.keys)
    rig.publish()
    rig.append(*rig.keys, first=10)
    rig.record_only()
    for shard in (0, 1):
        window, events = newest(rig, shard)
        producer = Careless(rig, shard)
        producer.leave_open(events)
        producer.go()
        rig.set_mark(shard, Mark(window.number, window.identity, rig.mark(shard).topics))
    with capture_logs() as logs:
        assert rig.publish() == 0
    assert [log["end"] for log in logs if log["event"] == "transaction_was_left_open"] == ["committed"] * 2
    assert rig.check_exactly_once() == 2 * len(rig.keys)


def test_a_mark_left_open_takes_its_window_back(rig: Any, unchecked: None) -> None:
    """Neither events nor mark have their markers: the window counts as not published, and comes again, once."""
    rig.append(*rig.keys)
    rig.publish()
    rig.append(*rig.keys, first=10)
    rig.record_only()
    window, events = newest(rig)
    producer = Careless(rig, 0)
    touched = producer.leave_open(events)
    producer.leave_mark_open(Mark(window.number, window.identity, rig.mark(0).topics))
    producer.go()
    found = open_now(rig)
    assert {one for one in found if one[0] != "__consumer_offsets"} == touched
    assert [one[0] for one in found].count("__consumer_offsets") == 1
    rig.publish()
    assert open_now(rig) == set()
    assert rig.check_exactly_once() == 2 * len(rig.keys)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_single_broker_that_is_restarted_in_mid_window_repeats_nothing(
    own: Any, writers: Any, relay_process: Any, end: signal.Signals
) -> None:
    """The real thing, several times over: every event once, and in order."""
    rig, kafka = own
    dice = Random(end)
    with writers(rig.settings.dsn.get_secret_value(), count=4, keys=40, pause_s=0.0), relay_process(rig.settings):
        until(lambda: rig.one("SELECT count(*) FROM relay_windows") > 6)
        for _ in range(RESTARTS):
            Event().wait(dice.random())
            kafka.process.send(end)
            kafka.process.end(within_s=30)
            restart_broker(rig.run, kafka.process)
            before = rig.one("SELECT count(*) FROM relay_windows")
            until(lambda: rig.one("SELECT count(*) FROM relay_windows") > before + 6)  # noqa: B023  called at once
    with relay_process(rig.settings):
        until(rig.is_drained)
    assert rig.check_exactly_once() > 10_000


def until(is_so: Any) -> None:
    pause, deadline = Event(), monotonic() + 120
    while not is_so():
        assert monotonic() < deadline
        pause.wait(0.05)


@pytest.mark.slow
def test_nothing_is_open_after_an_orderly_life(rig: Any) -> None:
    rig.append(*rig.keys)
    with capture_logs() as logs:
        rig.publish()
    assert [log for log in logs if log["event"] == "transaction_was_left_open"] == []
    assert open_now(rig) == set()


@pytest.mark.slow
def test_an_event_that_nobody_knows_any_more_was_published(rig: Any) -> None:
    rig.append(*rig.keys)
    rig.publish()
    with psycopg.connect(rig.settings.dsn.get_secret_value(), autocommit=True) as session:
        mark = rig.mark(0)
        assert relay_open.is_published(session, 0, mark, "0198e2a0-0000-7000-8000-000000000000")
        assert not relay_open.is_published(session, 0, None, "0198e2a0-0000-7000-8000-000000000000")
