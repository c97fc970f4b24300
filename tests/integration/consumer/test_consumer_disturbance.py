"""Errors that say "try again" condemn nobody, and one bad message is not a bad deploy."""

import psycopg
from sqlalchemy import text

from paidonce.app import db
from paidonce.app.messaging.outcomes import Done


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


def test_a_handler_that_answers_nothing_is_found_out(rig) -> None:
    rig.send([rig.event()])
    rig.run(rig.member(lambda tx, message: None), until=lambda: rig.committed() == 1)
    assert "answered None" in rig.dead()[0].reason


def test_one_bad_message_is_not_a_bad_deploy(rig) -> None:
    def handler(tx, message):
        return 1 / 0 if message.key in "14" else rig.note(tx, message)

    rig.send([rig.event(str(n)) for n in range(10)])
    rig.run(rig.member(handler, brake_window=5), until=lambda: rig.committed() == 10)
    assert len(rig.worked()) == 8
