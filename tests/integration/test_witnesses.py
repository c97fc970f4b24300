"""Do the witnesses see what is really there? The tables by SQL, the topic as a `read_committed` reader has it."""

import sqlite3
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from paidonce.app.clock import new_id
from paidonce.app.settings import Settings
from paidonce.chaos import moments, tables, witnesses
from paidonce.chaos.drain import drain
from paidonce.devstack.provider.journal import SCHEMA

PAYMENT = "0198c000-0000-7000-8000-000000000001"
EVENT = str(new_id())


@pytest.fixture
def filled(database: str) -> str:
    """A database with one payment on its way, its event, a charge that nobody knows of, and a parked message."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO payments (id, tenant, status, amount, currency, payment_method, reference)"
            " VALUES (%s, 'acme', 'charging', 900, 'EUR', 'pm_ok', 's-1')",
            [PAYMENT],
        )
        connection.execute(
            "INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload)"
            """ VALUES (%s, 'payment', %s, 'payment.accepted', 1, '{"tenant": "acme"}')""",
            [EVENT, PAYMENT],
        )
        connection.execute(
            "INSERT INTO effects (id, kind, subject, tenant, state, request)"
            " VALUES (%s, 'charge', %s, 'acme', 'unknown', '')",
            [uuid4(), PAYMENT],
        )
        connection.execute(
            "INSERT INTO parked (consumer, message_id, key, envelope, value, reason, next_attempt_at)"
            " VALUES ('ledger', 'm-1', 'k-1', '{}', '', 'later', now())"
        )
    return database


def test_the_tables_are_read_as_they_are(filled: str) -> None:
    with tables.connect(filled) as connection:
        said = tables.tables(connection)
    (payment,) = said["payments"]
    assert (payment.id, payment.subject, payment.status, payment.amount) == (PAYMENT, "s-1", "charging", 900)
    (event,) = said["events"]
    assert (event.id, event.tenant, event.key, event.sequence) == (EVENT, "acme", PAYMENT, 1)
    assert [row.state for row in said["effects"]] == ["unknown"]
    assert said["parked"] == ["ledger m-1 later"]
    assert said["refunds"] == said["ledger"] == said["dead_letters"] == []


def test_the_moments_of_a_payment_are_kept_with_the_window_that_carried_its_event(filled: str, tmp_path: Path) -> None:
    with psycopg.connect(filled) as connection:
        connection.execute(
            "INSERT INTO relay_windows (shard, number, epoch, s1, s2, lo, hi, identity)"
            " SELECT shard, 7, 1, '3:3:'::pg_snapshot, pg_current_snapshot(), 0, position, gen_random_uuid()"
            " FROM outbox"
        )
        connection.execute("INSERT INTO inbox (consumer, message_id) VALUES ('charges', %s)", [EVENT])
        connection.execute(
            "INSERT INTO effect_history (effect_id, event, state) SELECT id, 'created', 'pending' FROM effects"
        )
        connection.commit()
    with tables.connect(filled) as connection:
        moments.save(connection, tmp_path)
    said = moments.of(PAYMENT, tmp_path)
    assert {moment.place for moment in said} == {"commit", "window", "inbox", "effect"}
    assert [moment.at for moment in said] == sorted(moment.at for moment in said)
    (window,) = [moment.what for moment in said if moment.place == "window"]
    assert window.startswith("window 7 of shard ")
    assert moments.of("another", tmp_path) == moments.of(PAYMENT, tmp_path / "older") == []


@pytest.mark.parametrize(("txid", "seen"), [(4, True), (5, False), (6, True), (7, False), (9, False)])
def test_a_snapshot_is_read_as_the_server_reads_it(filled: str, txid: int, *, seen: bool) -> None:
    assert moments.visible(txid, "5:9:5,7") == seen
    with psycopg.connect(filled) as connection:
        row = connection.execute("SELECT pg_visible_in_snapshot(%s::text::xid8, '5:9:5,7')", [txid]).fetchone()
    assert row == (seen,)


def test_a_witness_cannot_write(filled: str) -> None:
    with tables.connect(filled) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM payments")


def test_the_drain_is_bounded_and_names_what_is_stuck(filled: str) -> None:
    drained = drain(filled, lambda _: None, within_s=0.3)
    assert 0.3 <= drained.seconds < 3
    assert drained.stuck == {
        "payments charging": 1,
        "charge calls unknown": 1,
        "messages put aside by ledger": 1,
        "events not yet seen by charges": 1,
        "events not yet seen by ledger": 1,
        "events not yet seen by notifications": 1,
    }


def test_the_drain_ends_as_soon_as_everything_is_final(filled: str) -> None:
    looks = 0

    def finish(stuck: object) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            with psycopg.connect(filled) as connection:
                connection.execute("UPDATE payments SET status = 'captured'")
                connection.execute("UPDATE effects SET state = 'done'")
                connection.execute("DELETE FROM parked")
                for consumer in ("charges", "ledger", "notifications"):
                    connection.execute("INSERT INTO inbox VALUES (%s, %s)", [consumer, EVENT])

    drained = drain(filled, finish, within_s=20)
    assert drained.stuck == {}
    assert looks == 3


def test_the_topic_is_read_without_what_was_aborted(settings: Settings) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    admin.create_topics([NewTopic(settings.topic, 3, 1)])
    producer = KafkaProducer(
        bootstrap_servers=settings.kafka, transactional_id=f"test-{settings.topic}", retry_backoff_ms=2
    )
    producer.init_transactions()

    def send(numbers: range) -> None:
        producer.begin_transaction()
        for number in numbers:
            headers = [("message-id", b"m-%d" % number), ("ce_type", b"payment.accepted"), ("ce_sequence", b"7")]
            producer.send(settings.topic, b"{}", key=b"k-%d" % number, partition=number % 3, headers=headers)
        producer.flush()

    send(range(5))
    producer.commit_transaction()
    send(range(5, 10))
    producer.abort_transaction()
    send(range(10, 12))
    producer.commit_transaction()
    producer.close()
    admin.close()
    found = witnesses.topic(settings.kafka, settings.topic)
    assert sorted(record.message_id for record in found) == sorted(f"m-{n}" for n in (0, 1, 2, 3, 4, 10, 11))
    assert [(r.partition, r.offset) for r in found] == sorted((r.partition, r.offset) for r in found)
    assert {(record.type, record.sequence) for record in found} == {("payment.accepted", 7)}
    assert {record.message_id: record.key for record in found}["m-11"] == "k-11"


def test_the_journal_is_read_as_the_simulator_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "provider.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript(SCHEMA)
        database.execute(
            "INSERT INTO charges VALUES ('ch-1', 1.0, 1, 'charge-p', 'p', 'captured', 900, 'EUR', 'pm_ok', '')"
        )
        database.execute("INSERT INTO refunds VALUES ('re-1', 2.0, 2, 'refund-r', 'r', 'succeeded', 300, 'ch-1', '')")
        for method in ("POST", "POST", "GET"):
            row = (1.0, method, "/v1/charges", "", "", b"")
            database.execute(
                "INSERT INTO calls (at, method, path, query, headers, body) VALUES (?, ?, ?, ?, ?, ?)", row
            )
    said = witnesses.journal(path)
    (charge,), (refund,) = said["charges"], said["provider_refunds"]
    assert (charge.id, charge.key, charge.reference, charge.amount) == ("ch-1", "charge-p", "p", 900)
    assert (refund.id, refund.reference, refund.charge, refund.amount) == ("re-1", "r", "ch-1", 300)
    assert said["provider_calls"] == 2
