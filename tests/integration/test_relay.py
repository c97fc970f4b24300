"""The relay on real servers: each committed event once for `read_committed`, in order, whatever dies where."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from threading import Event, Thread
from time import monotonic
from typing import Any

import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from sqlalchemy import Engine

from paidonce.app import db, steps
from paidonce.app.clock import SystemClock, new_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import envelope, outbox
from paidonce.app.messaging.hint import Hinter
from paidonce.app.settings import Settings
from paidonce.workers import broker, doctor_checks, relay_shard, windows
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.broker_admin import Topics
from paidonce.workers.broker_marks import Mark
from paidonce.workers.broker_producer import Publisher
from paidonce.workers.relay_shards import Relay
from paidonce.workers.relay_wake import Waker

#: Passes after which a relay that has not finished never will.
PASSES_MOST = 200
#: Seconds that anything may take on a busy machine.
BOUND_S = 30.0
#: Both shards have some of these.
KEYS = [f"key-{number}" for number in range(8)]


class CrashError(Exception):
    """The process dies here."""


class Crash:
    """Dies before or after the `nth` pass of one step."""

    def __init__(self, step: str, when: str, nth: int = 1) -> None:
        self.step, self.when, self.left = step, when, nth

    def before(self, step: str) -> None:
        self._pass(step, "before")

    def after(self, step: str, seconds: float, error: BaseException | None) -> None:
        self._pass(step, "after")

    def _pass(self, step: str, when: str) -> None:
        if (step, when) == (self.step, self.when):
            self.left -= 1
            if self.left == 0:
                raise CrashError(step)


class Hold:
    """Holds the first that comes to a step until `go`."""

    def __init__(self, step: str) -> None:
        self.step, self.held, self.go = step, Event(), Event()

    def before(self, step: str) -> None:
        if step == self.step and not self.held.is_set():
            self.held.set()
            assert self.go.wait(BOUND_S)

    def after(self, step: str, seconds: float, error: BaseException | None) -> None:
        pass


@pytest.fixture
def listeners() -> Iterator[None]:
    before = steps._listeners
    yield
    steps._listeners = before


@pytest.fixture
def bind(settings: Settings) -> Iterator[Engine]:
    engine = db.engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def relays(settings: Settings, bind: Engine) -> Iterator[Any]:
    """Makes relays, and closes them."""
    made: list[Relay] = []

    def make(**options: Any) -> Relay:
        made.append(Relay(settings.model_copy(update=options), bind, Event()))
        return made[-1]

    yield make
    for relay in made:
        relay.close()


def append(bind: Engine, *keys: str, kind: str = "payment", first: int = 0) -> list[str]:
    """One transaction with an event for each of `keys`."""
    events = [
        envelope.Event(new_id(), kind, key, f"{kind}.accepted", number, b"{}", {"traceparent": "00-1"})
        for number, key in enumerate(keys, first)
    ]
    with bind.begin() as tx:
        for event in events:
            outbox.append(tx, event, bytes_max=1_000_000)
    return [str(event.id) for event in events]


def drain(relay: Relay) -> int:
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


def expire(bind: Engine) -> None:
    """The time of every lease is over, as after a process's death."""
    with bind.begin() as tx:
        tx.exec_driver_sql("UPDATE leases SET expires_at = now() - interval '1 second'")


def records(settings: Settings, topic: str | None = None) -> list[Any]:
    """What a `read_committed` reader finds on the whole topic, partition by partition."""
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    try:
        name = topic or settings.topic
        partitions = [TopicPartition(name, one) for one in consumer.partitions_for_topic(name) or ()]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        found: list[Any] = []
        for _ in range(PASSES_MOST):
            if all(consumer.position(one) >= ends[one] for one in partitions):
                return found
            found += [record for batch in consumer.poll(timeout_ms=200).values() for record in batch]
        raise AssertionError("the topic does not end")
    finally:
        consumer.close()


def ids(found: list[Any]) -> list[str]:
    return [dict(record.headers)["message-id"].decode() for record in found]


@pytest.mark.usefixtures("listeners")
def test_a_window_that_kafka_does_not_take_holds_up_no_other_shard(
    settings: Settings, bind: Engine, relays: Any
) -> None:
    hold, relay = Hold("relay.commit"), relays(relay_window_events=1)
    sent = append(bind, *KEYS)
    steps.listen(hold)
    published = sum(relay.run_once() for _ in range(3))
    assert hold.held.is_set()
    assert published == 3, "three windows of the shard that is not held"
    hold.go.set()
    drain(relay)
    assert sorted(ids(records(settings))) == sorted(sent)


def test_an_event_arrives_whole(settings: Settings, bind: Engine, relays: Any) -> None:
    [id_] = append(bind, "payment-1", first=7)
    assert drain(relays()) == 1
    [record] = records(settings)
    headers = {name: value.decode() for name, value in record.headers}
    assert (record.key, record.value) == (b"payment-1", b"{}")
    assert headers["message-id"] == headers["ce_id"] == id_
    assert headers["ce_type"] == "payment.accepted"
    assert headers["ce_sequence"] == "7"
    assert headers["traceparent"] == "00-1"


def test_keys_keep_their_partition_and_order_over_windows(settings: Settings, bind: Engine, relays: Any) -> None:
    relay = relays(relay_window_events=3)
    sent = [append(bind, *KEYS, first=round_ * 10) for round_ in range(3)]
    assert drain(relay) == 3 * len(KEYS)
    found = records(settings)
    assert sorted(ids(found)) == sorted(id_ for batch in sent for id_ in batch)
    places, order = defaultdict(set), defaultdict(list)
    for record in found:
        places[record.key].add(record.partition)
        order[record.key].append(int(dict(record.headers)["ce_sequence"]))
    assert all(len(where) == 1 for where in places.values())
    assert all(sequence == sorted(sequence) for sequence in order.values())


def test_another_kind_of_event_goes_to_its_own_topic(settings: Settings, bind: Engine, relays: Any) -> None:
    kind = f"order-{new_id().hex[-8:]}"
    sent = append(bind, "a", kind=kind)
    relay = relays()
    assert drain(relay) == 1
    assert ids(records(settings, f"{kind}s")) == sent


STAGES = ["relay.fence", "relay.record", "relay.send", "relay.add_number", "relay.commit"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_stage_loses_nothing_and_doubles_nothing(
    settings: Settings, bind: Engine, relays: Any, listeners: None, when: str
) -> None:
    sent = append(bind, *KEYS)
    for number, stage in enumerate(STAGES, 1):
        relay = relays()
        if stage != "relay.fence":
            drain(relay)
            sent += append(bind, *KEYS, first=number * 100)
        steps.listen(Crash(stage, when))
        with pytest.raises(CrashError):
            drain(relay)
        expire(bind)
        sent += append(bind, *KEYS, first=number * 100 + 10)
    drain(relays())
    assert sorted(ids(records(settings))) == sorted(sent)


def test_a_broken_producer_is_replaced_and_the_same_window_comes_again(
    settings: Settings, bind: Engine, relays: Any
) -> None:
    """Another producer took the id although the lease is ours: fenced, and still the owner, so recover."""
    relay = relays()
    sent = append(bind, *KEYS)
    drain(relay)
    for shard in (0, 1):
        usurper = Publisher(settings, shard)
        usurper.fence()
        usurper.close()
    sent += append(bind, *KEYS, first=10)
    drain(relay)
    assert sorted(ids(records(settings))) == sorted(sent)


def test_an_aborted_window_leaves_no_trace_and_comes_again(
    settings: Settings, bind: Engine, relays: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = relays()
    sent = append(bind, *KEYS)
    whole, failures = Publisher._add, [BrokerAwayError("the broker was slow")] * 2

    def fail(self: Publisher, mark: Mark) -> None:
        if failures:
            raise failures.pop()
        whole(self, mark)

    monkeypatch.setattr(Publisher, "_add", fail)
    drain(relay)
    assert not failures
    assert sorted(ids(records(settings))) == sorted(sent)


def test_a_window_that_comes_again_comes_before_what_was_read_ahead(
    settings: Settings, bind: Engine, relays: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = relays(relay_window_events=2)
    sent = append(bind, *KEYS, *KEYS, *KEYS)
    whole, passes = Publisher._add, iter(range(PASSES_MOST))

    def fail(self: Publisher, mark: Mark) -> None:
        if next(passes) % 3 == 1:
            raise BrokerAwayError("the broker was slow")
        whole(self, mark)

    monkeypatch.setattr(Publisher, "_add", fail)
    drain(relay)
    found = records(settings)
    assert sorted(ids(found)) == sorted(sent)
    for key in KEYS:
        order = [int(dict(record.headers)["ce_sequence"]) for record in found if record.key == key.encode()]
        assert order == sorted(order)


def test_a_session_lost_while_reading_ahead_costs_a_recovery(
    settings: Settings, bind: Engine, relays: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window is under way then: Kafka may take it or not, and recovery finds out."""
    relay = relays(relay_window_events=2)
    sent = append(bind, *KEYS, *KEYS)
    whole, failures = windows.read_ahead, [psycopg.OperationalError("the server was restarted")] * 2

    def fail(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return whole(*arguments, **options)

    monkeypatch.setattr(windows, "read_ahead", fail)
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError):
            drain(relay)
    drain(relay)
    assert sorted(ids(records(settings))) == sorted(sent)


def test_large_events_make_small_windows(settings: Settings, bind: Engine, relays: Any) -> None:
    event = envelope.Event(new_id(), "payment", "a", "payment.accepted", 1, b'"' + b"x" * 900_000 + b'"')
    with bind.begin() as tx:
        for _ in range(5):
            outbox.append(tx, replace(event, id=new_id()), bytes_max=1_000_000)
    assert drain(relays(relay_window_bytes=2_000_000)) == 5
    with bind.connect() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM relay_windows").scalar() == 3
    assert [len(record.value) for record in records(settings)] == [len(event.payload)] * 5


def test_a_commit_that_was_sent_twice_costs_the_producer_its_place(
    settings: Settings, bind: Engine, relays: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An EndTxn that still travels is void under the next producer's epoch."""
    relay = relays()
    sent = append(bind, *KEYS)
    made: list[Publisher] = []
    commit = Publisher._commit

    def retried(self: Publisher) -> None:
        made.append(self)
        commit(self)
        self._client.worn = len(made) == 1

    monkeypatch.setattr(Publisher, "_commit", retried)
    for first in (0, 10, 20):
        sent += append(bind, *KEYS, first=first)
        drain(relay)
    assert len(set(map(id, made))) == 3, "two shards, and one producer replaced"
    assert sorted(ids(records(settings))) == sorted(sent)


@pytest.mark.slow
def test_an_owner_that_slept_past_its_lease_stops_by_itself(settings: Settings, bind: Engine, relays: Any) -> None:
    stale = relays(relay_lease_s=600.0)
    sent = append(bind, *KEYS)
    drain(stale)
    expire(bind)
    owner = relays()
    sent += append(bind, *KEYS, first=10)
    drain(owner)
    sent += append(bind, *KEYS, first=20)
    assert drain(stale) == 0
    assert stale.shards == []
    deadline = monotonic() + BOUND_S
    while not (owner.shards and stale.shards):  # one looks around only now and then
        assert monotonic() < deadline, "the newcomer never had its share"
        drain(owner)
        drain(stale)
    assert sorted(owner.shards + stale.shards) == [0, 1], "it is a newcomer now, with a newcomer's share"
    drain(owner)
    drain(stale)
    assert sorted(ids(records(settings))) == sorted(sent)


@pytest.mark.slow
def test_another_partition_count_is_refused(settings: Settings, bind: Engine, relays: Any) -> None:
    append(bind, *KEYS)
    drain(relays())
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    assert doctor_checks.kafka(settings).endswith(f"with {settings.topic_partitions} partitions")
    more = settings.topic_partitions + 1
    admin.create_partitions({settings.topic: more})
    with Topics(settings) as topics:
        for _ in range(PASSES_MOST):
            if topics.ensure([settings.topic])[settings.topic].partitions == more:
                break
    admin.close()
    with pytest.raises(doctor_checks.WrongError, match=rf"has {more} partitions, and had {more - 1} .*operations\.md"):
        doctor_checks.kafka(settings)
    expire(bind)
    with pytest.raises(ConfigurationError, match="partitions"):
        drain(relays())
    # As docs/operations.md says, once every consumer has read all.
    append(bind, *KEYS, first=1)
    with bind.begin() as tx:
        tx.exec_driver_sql(f"UPDATE installation SET value = '{more}' WHERE name = 'partitions:{settings.topic}'")
    assert doctor_checks.kafka(settings) == f"topic {settings.topic} with {more} partitions"
    expire(bind)
    drain(relays())
    assert len(records(settings)) == 2 * len(KEYS)


def test_another_number_of_shards_is_refused(relays: Any) -> None:
    with pytest.raises(ConfigurationError, match="outbox_shards"):
        drain(relays(outbox_shards=3))


def test_events_larger_than_the_topic_takes_are_refused_at_the_start(relays: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max\.message\.bytes"):
        drain(relays(message_bytes_max=2_000_000))


@pytest.mark.slow
def test_a_recreated_topic_gets_every_retained_window_again(settings: Settings, bind: Engine, relays: Any) -> None:
    sent = [append(bind, *KEYS, first=number) for number in (0, 10, 20)]
    first = relays(relay_window_events=3)
    drain(first)
    first.close()
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    admin.delete_topics([settings.topic])
    for _ in range(PASSES_MOST):
        if settings.topic not in admin.list_topics():
            break
    admin.close()
    sent.append(append(bind, *KEYS, first=30))
    with pytest.raises(doctor_checks.WrongError, match=r"is gone, .*start a relay"):
        doctor_checks.kafka(settings)
    drain(relays(relay_window_events=3))
    assert sorted(ids(records(settings))) == sorted(id_ for batch in sent for id_ in batch)


def test_a_database_back_in_time_stops_its_shard_alone(settings: Settings, bind: Engine, relays: Any) -> None:
    append(bind, *KEYS)
    first = relays()
    drain(first)
    first.close()
    with bind.begin() as tx:
        tx.exec_driver_sql("DELETE FROM relay_windows WHERE shard = 0")
    sent = append(bind, *KEYS, first=10)
    before = len(records(settings))
    relay = relays()
    published = drain(relay)
    assert 0 < published < len(KEYS), "shard 1 goes on, shard 0 stands still"
    assert len(records(settings)) == before + published
    assert len(sent) > published


def test_an_idle_shard_remembers_what_it_published_beside_kafka(
    settings: Settings, bind: Engine, relays: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_shard, "IDLE_S", -1.0)
    sent = append(bind, *KEYS)
    first = relays()
    drain(first)
    first.close()
    with psycopg.connect(db.libpq_dsn(settings)) as session:
        assert [windows.last_published(session, shard) for shard in (0, 1)] == [1, 1]
    # Kafka has forgotten the group, as after a week's silence.
    forgetful = relays(relay_name=f"{settings.relay_name}-new")
    assert drain(forgetful) == 0
    assert sorted(ids(records(settings))) == sorted(sent)


def test_a_hint_wakes_the_relay(settings: Settings, bind: Engine) -> None:
    waker, hinter = Waker(db.libpq_dsn(settings), Event()), Hinter(db.libpq_dsn(settings))
    assert waker.wait(0.01) is False
    woken: list[bool] = []
    sleeper = Thread(target=lambda: woken.append(waker.wait(30)))
    sleeper.start()
    hinter.hint()
    sleeper.join(10)
    assert woken == [True]
    for _ in range(100):
        hinter.hint()
    assert waker.wait(10) is True
    hinter.close()
    waker.close()


def test_a_hint_without_a_database_harms_nobody() -> None:
    hinter = Hinter("postgresql://nobody@127.0.0.1:1/none")
    hinter.hint()
    hinter.close()


def test_a_waker_without_a_database_waits_out_its_time() -> None:
    stop = Event()
    stop.set()
    assert Waker("postgresql://nobody@127.0.0.1:1/none", stop).wait(30) is False


def test_kafka_away_is_a_pause(settings: Settings, bind: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "LIMIT_LEAST_S", 0.2)
    away = settings.model_copy(update={"kafka": "127.0.0.1:1", "relay_lease_s": 0.2})
    relay = Relay(away, bind, Event(), SystemClock())
    with pytest.raises(BrokerAwayError):
        relay.run_once()
    relay.close()


def test_an_owner_that_stalls_in_mid_window_holds_up_its_own_shard_only(
    settings: Settings, bind: Engine, relays: Any
) -> None:
    """Stopped between the INSERT of its window and the COMMIT, with a lease that ran out: the server ends it."""
    relay = relays(relay_lease_s=2.0)
    append(bind, *KEYS)
    drain(relay)
    stalled = psycopg.connect(db.libpq_dsn(settings))
    stalled.execute(
        "INSERT INTO relay_windows (shard, number, epoch, s1, s2, lo, hi, identity)"
        " SELECT shard, number + 1, epoch, s1, s2, lo, hi, gen_random_uuid() FROM relay_windows"
        "  WHERE shard = 0 ORDER BY number DESC LIMIT 1"
    )
    append(bind, *KEYS, first=100)
    published = sum(relay.run_once() for _ in range(2))
    with bind.connect() as tx:
        other = tx.exec_driver_sql("SELECT count(*) FROM outbox WHERE shard = 1 AND sequence >= 100").scalar()
    assert published == other
    stalled.rollback()
    stalled.close()
    assert drain(relay) == len(KEYS) - published


def test_the_topic_of_the_marks_comes_back(settings: Settings, bind: Engine, relays: Any) -> None:
    """Kafka away at the first start, or the topic deleted since: recovery makes it."""
    append(bind, *KEYS)
    drain(relays())
    expire(bind)
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    admin.delete_topics([settings.relay_name])
    admin.close()
    append(bind, *KEYS, first=1)
    assert drain(relays()) >= len(KEYS)
