"""Errors that say "try again" condemn nobody, and everything that is no message stops nothing."""

import psycopg
import pytest
from sqlalchemy import text

from paidonce.app import db
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Done
from paidonce.workers.consumer_brake import BrakedError
from paidonce.workers.consumer_member import PartitionsGoneError


def test_a_lock_timeout_condemns_nobody(rig) -> None:
    with rig.bind.begin() as tx:
        tx.execute(text("CREATE TABLE locked (id int PRIMARY KEY)"))
        tx.execute(text("INSERT INTO locked VALUES (1)"))
    other = rig.bind.connect()
    other.execute(text("SELECT FROM locked FOR UPDATE"))
    timeouts = []

    def handler(tx, message):
        tx.execute(text("SET LOCAL lock_timeout = 20"))
        try:
            tx.execute(text("SELECT FROM locked FOR UPDATE"))
        except Exception as error:
            timeouts.append(db.sqlstate(error))
            if len(timeouts) == 3:
                other.rollback()
            raise
        return rig.note(tx, message)

    sent = [rig.event(str(n)) for n in range(3)]
    rig.send(sent)
    rig.run(rig.member(handler), until=lambda: rig.committed() == 3)
    other.close()
    assert timeouts == ["55P03"] * 3
    assert rig.worked() == [str(one.id) for one in sent]
    assert rig.dead() == []


def test_a_killed_session_and_a_wrapped_deadlock_condemn_nobody(rig) -> None:
    troubles = []

    def handler(tx, message):
        if message.key == "1" and len(troubles) == 0:
            troubles.append("killed")
            tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        if message.key == "2" and len(troubles) == 1:
            troubles.append("wrapped")
            try:
                raise psycopg.errors.DeadlockDetected("found a deadlock")
            except psycopg.Error as error:
                raise RuntimeError("our own words") from error
        return rig.note(tx, message)

    sent = [rig.event(str(n)) for n in range(4)]
    rig.send(sent)
    rig.run(rig.member(handler), until=lambda: rig.committed() == 4)
    assert troubles == ["killed", "wrapped"]
    assert rig.worked() == [str(one.id) for one in sent]
    assert rig.dead() == []


def test_a_violation_that_shows_at_commit_condemns_its_message_only(rig) -> None:
    with rig.bind.begin() as tx:
        tx.execute(text("CREATE TABLE late (id text UNIQUE DEFERRABLE INITIALLY DEFERRED)"))

    def handler(tx, message):
        for _ in range(2 if message.key == "1" else 1):
            tx.execute(text("INSERT INTO late VALUES (:id)"), {"id": message.message_id})
        return Done()

    rig.send([rig.event(str(n)) for n in range(4)])
    rig.run(rig.member(handler), until=lambda: rig.committed() == 4)
    assert [row.key for row in rig.dead()] == ["1"]
    assert rig.dead()[0].reason.startswith("UniqueViolation")
    assert rig.scalar("SELECT count(*) FROM late") == 3


def test_records_that_are_no_messages_become_dead_letters_whole(rig) -> None:
    good = ("message-id", b"id-1"), ("ce_type", b"payment.captured")
    records = [
        (b"k", b"{}", []),
        (b"k", b"{}", [("message-id", b""), good[1]]),
        (b"k", b"{}", [("message-id", b"a\0b"), good[1]]),
        (b"k", b"{}", [("message-id", b"x" * 256), good[1]]),
        (b"k", b"{}", [("message-id", b"no-type")]),
        (b"k", None, [("message-id", b"tombstone"), good[1]]),
        (b"\xff\xfe", b"{}", [("message-id", b"key-not-text"), good[1]]),
        (b"a\0b", b"{}", [("message-id", b"key-with-nul"), good[1]]),
        (b"k", b"{}", [("message-id", b"header-not-text"), good[1], ("more", b"\xff")]),
        (b"k", b"{}", [("message-id", b"stranger"), ("ce_type", b"order.placed")]),
        (b"k", b"{nope", [("message-id", b"not-json"), good[1]]),
        (b"k", b"[1]", [("message-id", b"not-an-object"), good[1]]),
        (b"k", b'"' + b"\xc3" * 900_000, [("message-id", b"huge"), good[1]]),
    ]
    for key, value, headers in records:
        rig.raw(key, value, headers)
    rig.raw(None, b"{}", [("message-id", b"without-a-key"), ("ce_type", b"payment.captured"), ("nul", b"\0")])
    rig.raw(b"k", b"{}", [("message-id", b"of-no-interest"), ("ce_type", b"payment.declined")])
    rig.producer.flush()

    def handler(tx, message):
        message.json()
        return rig.note(tx, message)

    member = rig.member(handler, brake_window=100)
    rig.run(member, until=lambda: rig.committed() == 15)
    assert rig.worked() == ["without-a-key"]
    dead = rig.dead()
    assert [row.value for row in dead] == [value for _, value, _ in records]
    assert [row.envelope["offset"] for row in dead] == list(range(13))
    assert [row.envelope["synthetic_id"] for row in dead] == [True] * 4 + [False] * 9
    assert dead[0].message_id.startswith(f"record:{rig.settings.topic}:0:0@")
    assert [row.message_id for row in dead[4:]] == [
        dict(headers)["message-id"].decode() for _, _, headers in records[4:]
    ]
    assert dead[2].envelope["headers"][0] == ["message-id", {"base64": "YQBi"}]
    assert dead[6].envelope["key"] == {"base64": "//4="}
    assert (dead[6].key, dead[7].key) == (None, None)
    assert [row.reason for row in dead if not row.reason] == []


def test_a_handler_that_answers_nothing_is_found_out(rig) -> None:
    rig.send([rig.event()])
    rig.run(rig.member(lambda tx, message: None), until=lambda: rig.committed() == 1)
    assert "answered None" in rig.dead()[0].reason


def test_a_bad_deploy_stops_the_consumer_and_leaves_the_topic_alone(rig) -> None:
    sent = [rig.event(str(n)) for n in range(41)]
    rig.send(sent)
    bad = rig.member(lambda tx, message: 1 / 0, brake_window=10, consumer_batch=20)
    with pytest.raises(BrakedError):
        rig.pass_through(bad)
    with pytest.raises(BrakedError):
        bad.run_once()
    assert len(rig.dead()) == 10
    assert rig.committed() == 10
    rig.leave(bad)
    rig.run(rig.member(), until=lambda: rig.committed() == 41)
    assert rig.worked() == [str(one.id) for one in sent[10:]]


def test_one_bad_message_is_not_a_bad_deploy(rig) -> None:
    def handler(tx, message):
        return 1 / 0 if message.key in "14" else rig.note(tx, message)

    rig.send([rig.event(str(n)) for n in range(10)])
    rig.run(rig.member(handler, brake_window=5), until=lambda: rig.committed() == 10)
    assert len(rig.worked()) == 8


def test_no_work_is_finished_for_partitions_that_are_gone(rig) -> None:
    rig.send([rig.event()])
    lost = []

    def work(tx, messages):
        if not lost:
            lost.append(member.source._consumer._coordinator.reset_generation())
        for message in messages:
            rig.note(tx, message)
        return {message.message_id: Done() for message in messages}

    member = rig.member(Subscriber(rig.name, frozenset({"payment.captured"}), work))
    with pytest.raises(PartitionsGoneError):
        rig.pass_through(member)
    assert rig.worked() == []
    assert rig.committed() is None
    rig.run(member, until=lambda: rig.committed() == 1)
    assert len(rig.worked()) == 1
