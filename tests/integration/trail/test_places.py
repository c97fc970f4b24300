"""`paidonce trail` looks for partition and offset too, on a real Kafka, among a bounded number of records."""

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from sqlalchemy import Engine

from paidonce import cli
from paidonce.app import db
from paidonce.app.messaging.envelope import encode
from paidonce.app.payments.events import payment_event
from paidonce.app.settings import Settings
from paidonce.app.settings import settings as of_the_process
from paidonce.devstack.ports import free_port
from paidonce.workers import broker_places, trail
from paidonce.workers.relay_shards import Relay

#: Passes after which a relay that has not finished never will.
PASSES_MOST = 200


@pytest.fixture
def bind(settings: Settings) -> Iterator[Engine]:
    made = db.engine(settings)
    yield made
    made.dispose()


@pytest.fixture
def published(story: Any, settings: Settings, bind: Engine) -> Any:
    """A payment whose acceptance a relay has published."""
    told = type(story)(settings, bind)
    told.accept()
    relay = Relay(settings, bind, Event())
    try:
        assert any(relay.run_once() for _ in range(PASSES_MOST))
    finally:
        relay.close()
    return told


def on_the_topic(settings: Settings, key: str) -> Any:
    consumer = KafkaConsumer(settings.topic, bootstrap_servers=settings.kafka, auto_offset_reset="earliest")
    try:
        return next(one for one in consumer if one.key == key.encode())
    finally:
        consumer.close()


def topic_entry(found: Any) -> Any:
    [entry] = [one for one in found.entries if one.stage == "topic"]
    return entry


def test_partition_and_offset_are_those_of_the_record(
    published: Any,
    settings: Settings,
    bind: Engine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = on_the_topic(settings, str(published.payment_id))
    found = trail.looked_for(settings, bind, published.reference)
    entry = topic_entry(found)
    assert (found.kafka, entry.what, entry.gap) == ("looked", "on the topic: payment.accepted", False)
    assert entry.ids == {
        "message_id": str(published.event().id),
        "topic": settings.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
    }
    assert round(entry.at.timestamp() * 1000) == record.timestamp

    monkeypatch.setenv("PAIDONCE_DSN", settings.dsn.get_secret_value())
    monkeypatch.setenv("PAIDONCE_KAFKA", settings.kafka)
    monkeypatch.setenv("PAIDONCE_TOPIC", settings.topic)
    of_the_process.cache_clear()
    try:
        said = command(monkeypatch, capsys, published.key)
        assert f"payment {published.payment_id} of acme: pending, 1999 EUR" in said
        assert f"partition={record.partition}  offset={record.offset}" in said
        assert "GAP: ledger has not got payment.accepted" in said
        assert "3 gaps; the topic was looked at" in said
        document = json.loads(command(monkeypatch, capsys, str(published.payment_id), "--json"))
        assert (document["kafka"], document["gaps"], document["tenant"]) == ("looked", 3, "acme")
        with pytest.raises(SystemExit) as left:
            command(monkeypatch, capsys, "nobody-knows-it")
        assert left.value.code == 1
        assert "no payment is known under 'nobody-knows-it': give its id" in capsys.readouterr().err
    finally:
        of_the_process.cache_clear()


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["paidonce", "trail", *words])
    try:
        cli.main()
    except SystemExit as left:
        if left.code:
            raise
    return capsys.readouterr().out


def test_the_look_is_bounded_and_says_how_far_it_went(
    published: Any, settings: Settings, bind: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_places, "RECORDS_MAX", 0)
    entry = topic_entry(trail.looked_for(settings, bind, published.key))
    assert (entry.gap, entry.what) == (True, "payment.accepted is not among the 0 records of its time on the topic")


def test_what_the_topic_has_removed_is_no_gap(published: Any, settings: Settings, bind: Engine) -> None:
    record = on_the_topic(settings, str(published.payment_id))
    place = TopicPartition(settings.topic, record.partition)
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    admin.delete_records({place: record.offset + 1})
    admin.close()
    producer = KafkaProducer(bootstrap_servers=settings.kafka)
    other = payment_event("payment.accepted", published.payment(), published.event().created_at)
    producer.send(
        settings.topic, b"{}", key=b"x", headers=encode(other, published.event().created_at), partition=record.partition
    )
    producer.close()
    published.execute("UPDATE relay_windows SET created_at = created_at - interval '1 hour', published = NULL")
    entry = topic_entry(trail.looked_for(settings, bind, published.key))
    assert (entry.removed, entry.gap) == (True, False)
    assert entry.what == "payment.accepted was removed from the topic by retention"


@pytest.mark.slow
def test_a_kafka_that_is_away_hides_only_the_places(published: Any, settings: Settings, bind: Engine) -> None:
    away = settings.model_copy(update={"kafka": f"127.0.0.1:{free_port()}", "relay_lease_s": 0.1})
    found = trail.looked_for(away, bind, published.key)
    assert found.kafka == "away"
    assert {one.stage for one in found.entries} >= {"request", "commit", "event", "window"}
    assert "topic" not in {one.stage for one in found.entries}


def test_what_was_not_sent_is_not_looked_for(story: Any) -> None:
    unreachable = story.settings.model_copy(update={"kafka": "127.0.0.1:1"})
    assert trail.looked_for(unreachable, story.bind, story.key).kafka == "not_looked_for"


def test_a_reference_of_several_names_them_all(story: Any) -> None:
    other = type(story)(story.settings, story.bind, reference=story.reference, key=uuid4().hex)
    other.accept()
    with pytest.raises(trail.PaidonceError, match="leads to several payments") as refused:
        trail.looked_for(story.settings, story.bind, story.reference)
    assert {str(story.payment_id), str(other.payment_id)} <= set(str(refused.value).split())


def test_a_record_sent_long_after_its_window_is_found(published: Any, settings: Settings, bind: Engine) -> None:
    published.execute("UPDATE relay_windows SET created_at = created_at - :ago", ago=timedelta(days=2))
    assert topic_entry(trail.looked_for(settings, bind, published.key)).what == "on the topic: payment.accepted"
