"""`paidonce status` counts what is there: events nobody published, records nobody read, whatever waits."""

import json
from datetime import timedelta

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata
from sqlalchemy import Engine

from paidonce.app.clock import SystemClock, new_id
from paidonce.app.db import engine
from paidonce.app.errors import SchemaVersionError
from paidonce.app.messaging import brakes, dead_letters, effects, outbox, parked, partitions
from paidonce.app.messaging.envelope import Event
from paidonce.app.settings import Settings
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.ports import free_port
from paidonce.workers import doctor_checks, leases, status
from paidonce.workers.broker_admin import Topics
from paidonce.workers.broker_lag import lags, unread_since
from paidonce.workers.relay_session import open_session
from paidonce.workers.windows import newest, record_next, waiting

EVENTS = 25


@pytest.fixture
def bind(settings: Settings) -> Engine:
    return engine(settings, size=1)


def append(bind: Engine, settings: Settings, count: int) -> None:
    with bind.begin() as tx:
        for _ in range(count):
            event = Event(new_id(), "payment", str(new_id()), "payment.accepted", 1, b"{}", {})
            outbox.append(tx, event, bytes_max=settings.message_bytes_max)


def test_events_that_no_window_holds_are_waiting(settings: Settings, bind: Engine) -> None:
    append(bind, settings, EVENTS)
    found = status.read(settings)
    assert sum(shard.waiting for shard in found.outbox) == EVENTS
    assert [(shard.window, shard.in_kafka) for shard in found.outbox] == [(0, None), (0, None)]
    bind.dispose()


def test_where_debezium_publishes_its_slot_is_shown(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with_cdc = settings.model_copy(update={"cdc_slot": "paidonce_outbox"})
    status.main(with_cdc, as_json=False)
    shown = capsys.readouterr().out
    assert "paidonce_outbox" in shown
    assert "lost" in shown, "there is no such slot here"
    assert status.read(settings).cdc is None


def test_what_a_window_holds_no_longer_waits(settings: Settings, bind: Engine) -> None:
    append(bind, settings, EVENTS)
    session = open_session(settings, bind)
    try:
        before = waiting(session, 0, most=100)
        assert before > 1, "25 random keys reach both shards"
        assert waiting(session, 0, most=1) == 1, "it counts no further than asked"
        lease = leases.acquire(session, "relay-shard-0", leases.new_owner(), for_s=60)
        assert lease is not None
        record_next(session, lease, 0, None, events_max=1)
        assert waiting(session, 0, most=100) == before - 1
        append(bind, settings, EVENTS)
        later = status.read(settings)
        assert later.outbox[0].window == 1
        assert sum(shard.waiting for shard in later.outbox) == 2 * EVENTS - 1
        assert [(held.name, held.epoch) for held in later.leases] == [("relay-shard-0", 1)]
        assert 0 < later.leases[0].left_s <= 60
        last = newest(session, 0)
        assert last is not None
        assert not last.ends_span
    finally:
        session.close()
        bind.dispose()


def test_a_groups_lag_is_what_it_has_not_committed(settings: Settings) -> None:
    with Topics(settings) as topics:
        topics.ensure([settings.topic])
    producer = KafkaProducer(bootstrap_servers=settings.kafka)
    for number in range(10):
        producer.send(settings.topic, b"{}", partition=number % 2)
    producer.close()
    group = f"group-of-{settings.topic}"
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka, group_id=group, enable_auto_commit=False)
    consumer.assign([TopicPartition(settings.topic, 0)])
    consumer.commit({TopicPartition(settings.topic, 0): OffsetAndMetadata(3, "", -1)})
    consumer.close()
    assert lags(settings, settings.topic, [group, "never-seen"]) == {group: 7, "never-seen": None}


def test_what_one_group_has_not_read_is_found_for_the_next_one_too(settings: Settings) -> None:
    """Found by the atlas: the partition was left paused, and the second look came to nothing after half a minute."""
    with Topics(settings) as topics:
        topics.ensure([settings.topic])
    producer = KafkaProducer(bootstrap_servers=settings.kafka)
    sent = producer.send(settings.topic, b"{}", partition=0).get(timeout=10)
    producer.close()
    groups = [f"{number}-of-{settings.topic}" for number in range(2)]
    for group in groups:
        consumer = KafkaConsumer(bootstrap_servers=settings.kafka, group_id=group, enable_auto_commit=False)
        consumer.assign([TopicPartition(settings.topic, 0)])
        consumer.commit({TopicPartition(settings.topic, 0): OffsetAndMetadata(0, "", -1)})
        consumer.close()
    found = unread_since(settings, settings.topic, groups)
    assert {group: at and round(at.timestamp() * 1000) for group, at in found.items()} == dict.fromkeys(
        groups, sent.timestamp
    )


def test_effects_and_dead_letters_are_counted(settings: Settings, bind: Engine) -> None:
    with bind.begin() as tx:
        for number in range(3):
            effects.create(tx, kind="charge", subject=f"payment-{number}", tenant="acme", request=b"{}")
        dead_letters.add(tx, consumer="ledger", message_id="1", key=None, envelope={}, value=None, reason="poison")
        letter = {"consumer": "mine", "key": None, "envelope": {}, "value": None, "reason": "poison"}
        for number in range(2):
            dead_letters.add(tx, message_id=str(number), **letter)
        dead_letters.discarded(tx, dead_letters.find(tx, consumer="mine", state=None, limit=1)[0].id)
    bind.dispose()
    found = status.read(settings)
    assert found.effects == {"pending": 3}
    counted = [(one.consumer, one.state, one.count) for one in found.dead_letters]
    assert counted == [("ledger", "dead", 1), ("mine", "dead", 1), ("mine", "discarded", 1)]


def test_who_stands_still_and_who_waits_is_told_of_consumers_of_ones_own_too(
    settings: Settings, bind: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    with bind.begin() as tx:
        brakes.engage(tx, "mine", "most was poison")
        waits = {"envelope": {}, "value": b"", "reason": "later", "delay": timedelta(hours=1), "attempts": 1}
        parked.park(tx, consumer="ledger", message_id="1", key="k", **waits)
        tx.exec_driver_sql("UPDATE parked SET created_at = now() - interval '90 seconds'")
    bind.dispose()
    found = {one.name: one for one in status.read(settings).consumers}
    assert set(found) == {"charges", "ledger", "mine", "notifications"}
    assert {name: one.brake for name, one in found.items() if one.brake} == {"mine": "most was poison"}
    assert {name: one.parked for name, one in found.items() if one.parked} == {"ledger": 1}
    assert found["charges"].parked_oldest_s is None
    assert 90 <= found["ledger"].parked_oldest_s < 150
    status.main(settings, as_json=False)
    assert "mine stands still: most was poison; paidonce brake release mine" in capsys.readouterr().out


@pytest.mark.slow
def test_without_kafka_the_rest_is_still_told(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    away = settings.model_copy(update={"kafka": f"127.0.0.1:{free_port()}", "relay_lease_s": 0.1})
    status.main(away, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert "could not" in said["kafka_error"]
    assert [shard["waiting"] for shard in said["outbox"]] == [0, 0]
    status.main(away, as_json=False)
    assert "nothing from Kafka" in capsys.readouterr().out


def test_another_schema_is_refused(settings: Settings, bind: Engine) -> None:
    with bind.begin() as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    bind.dispose()
    with pytest.raises(SchemaVersionError, match="paidonce migrate"):
        status.read(settings)
    with pytest.raises(SchemaVersionError):
        doctor_checks.postgres(settings)


def test_the_doctor_misses_a_partition(settings: Settings, bind: Engine) -> None:
    assert doctor_checks.postgres(settings).startswith("version 18")
    tomorrow = SystemClock().now().date() + timedelta(days=1)
    with bind.begin() as tx:
        tx.exec_driver_sql(f"DROP TABLE {partitions.name_of('outbox', tomorrow)}")
    bind.dispose()
    with pytest.raises(doctor_checks.WrongError, match=f"no partition of outbox for {tomorrow}"):
        doctor_checks.postgres(settings)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"effect_lease_s": 0.5}, "PAIDONCE_EFFECT_LEASE_S"),
        ({"effect_lease_s": 1.5, "webhook_call_s": 2.0}, "PAIDONCE_WEBHOOK_CALL_S"),
        ({"provider_key_margin_s": 86_400}, "PAIDONCE_PROVIDER_KEY_MARGIN_S"),
    ],
)
def test_the_doctor_sees_times_that_do_not_fit(changed: dict[str, object], said: str) -> None:
    sound = Settings(effect_call_s=1.0, webhook_call_s=1.0, effect_lease_s=3.0)
    assert doctor_checks.times(sound)
    with pytest.raises(doctor_checks.WrongError, match=said):
        doctor_checks.times(sound.model_copy(update=changed))


def test_the_doctor_sees_secrets_in_the_clear() -> None:
    with pytest.raises(doctor_checks.WrongError, match="PAIDONCE_ISSUER"):
        doctor_checks.addresses(Settings(issuer="http://login.example"))


@pytest.mark.slow
def test_the_doctor_asks_for_the_broker_in_vain(kafka: Kafka, settings: Settings) -> None:
    assert doctor_checks.kafka(settings) == f"answers; topic {settings.topic} will be made by the relay"
    away = settings.model_copy(update={"kafka": f"127.0.0.1:{free_port()}", "relay_lease_s": 0.1})
    with pytest.raises(doctor_checks.WrongError, match="set PAIDONCE_KAFKA"):
        doctor_checks.kafka(away)
