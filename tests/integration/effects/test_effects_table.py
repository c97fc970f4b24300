"""The effects table on a real PostgreSQL: one row a subject, claims that nobody shares, results that are fenced."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine

from paidonce.app import db
from paidonce.app.messaging import effects
from paidonce.app.messaging.answers import NoAnswer, Succeeded, Throttled
from paidonce.app.messaging.effect_kinds import Effect
from paidonce.app.messaging.effect_rules import Decision
from paidonce.app.settings import Settings

LEASE_S = 30.0
SILENCE = NoAnswer("time-out")
OK = Succeeded({"id": "ch_1", "status": "captured"})
DONE = Decision(state="done", settled=OK)


@pytest.fixture
def bind(database: str) -> Iterator[Engine]:
    engine = db.engine(Settings(dsn=database))
    yield engine
    engine.dispose()


def create(bind: Engine, *subjects: str, kind: str = "charge") -> None:
    with db.begin(bind) as tx:
        for subject in subjects:
            effects.create(tx, kind=kind, subject=subject, tenant="acme", request=b'{"of":"%s"}' % subject.encode())


def claim(bind: Engine, *, limit: int = 10, kind: str = "charge", repeats: bool = False) -> list[Effect]:
    with db.begin(bind) as tx:
        return effects.claim_due(tx, kind, limit=limit, lease_s=LEASE_S, repeats=repeats)


def finish(bind: Engine, effect: Effect, decision: Decision, answer: Any = SILENCE) -> bool:
    with db.begin(bind) as tx:
        return effects.finish(tx, effect, decision, asked="call", answer=answer)


def unknown(effect: Effect, *, delay_s: float = 0.0) -> Decision:
    return Decision(state="unknown", delay=timedelta(seconds=delay_s), open_attempt=True, sent_until=effect.lease_until)


def rows(database: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as connection:
        return connection.execute(query.encode()).fetchall()


def end_leases(database: str) -> None:
    """As if the time had passed: a running row is due exactly when its lease is over."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE effects SET lease_until = now() - interval '1 s', next_attempt_at = now() - interval '1 s'"
            " WHERE state = 'running'"
        )


def history(database: str) -> list[tuple[str, str]]:
    return rows(database, "SELECT event, state FROM effect_history ORDER BY id")


def test_one_effect_for_a_kind_and_subject(bind: Engine, database: str) -> None:
    create(bind, "p1", "p1")
    create(bind, "p1")
    create(bind, "p1", kind="refund")
    assert rows(database, "SELECT kind, subject, state, request FROM effects ORDER BY kind") == [
        ("charge", "p1", "pending", b'{"of":"p1"}'),
        ("refund", "p1", "pending", b'{"of":"p1"}'),
    ]
    assert history(database) == [("created", "pending")] * 2


def test_a_claim_takes_its_limit_and_the_next_one_the_rest(bind: Engine) -> None:
    create(bind, "p1", "p2", "p3")
    first, second = claim(bind, limit=2), claim(bind, limit=2)
    assert [effect.subject for effect in first] == ["p1", "p2"]
    assert [effect.subject for effect in second] == ["p3"]
    assert len({effect.claim_token for effect in first + second}) == 3
    assert claim(bind, limit=2) == []


def test_a_claim_says_what_is_to_be_sent_and_since_when(bind: Engine) -> None:
    create(bind, "p1")
    (effect,) = claim(bind)
    assert (effect.request, effect.tenant, effect.attempts) == (b'{"of":"p1"}', "acme", 1)
    assert (effect.open_attempt, effect.sent_until) == (False, None)
    assert effect.first_sent_at == effect.claimed_at, "the keys' retention is counted from before the first byte"
    assert effect.lease_until == effect.claimed_at + timedelta(seconds=LEASE_S)


def test_a_claim_takes_only_its_kind(bind: Engine) -> None:
    create(bind, "e1", kind="webhook")
    assert claim(bind) == []
    assert len(claim(bind, kind="webhook")) == 1


def test_two_workers_claim_different_rows_and_neither_waits(bind: Engine) -> None:
    create(bind, "p1", "p2", "p3")
    with bind.connect() as one, bind.connect() as other:
        first = effects.claim_due(one, "charge", limit=2, lease_s=LEASE_S, repeats=False)
        second = effects.claim_due(other, "charge", limit=2, lease_s=LEASE_S, repeats=False)
        one.commit()
        other.commit()
    assert {effect.subject for effect in first} == {"p1", "p2"}
    assert [effect.subject for effect in second] == ["p3"]


def test_many_workers_at_once_share_the_rows_out(bind: Engine) -> None:
    create(bind, *(f"p{number}" for number in range(101)))
    claimed: list[str] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait(10)
        while batch := claim(bind, limit=7):
            claimed.extend(effect.subject for effect in batch)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(claimed) == len(set(claimed)) == 101


def test_a_lost_lease_leaves_an_attempt_open(bind: Engine, database: str) -> None:
    create(bind, "p1")
    (lost,) = claim(bind)
    assert claim(bind) == []
    end_leases(database)
    (effect,) = claim(bind)
    assert (effect.open_attempt, effect.attempts, effect.first_sent_at) == (True, 2, lost.first_sent_at)
    assert effect.sent_until is not None
    assert lost.claimed_at < effect.claimed_at
    assert effect.sent_until < effect.claimed_at, "the end of the lease that was lost, from which a look-up is settled"
    assert effect.claim_token != lost.claim_token
    assert history(database)[1:] == [("claimed", "running"), ("lease_lost", "unknown"), ("claimed", "running")]


def test_a_lost_lease_of_what_may_happen_twice_leaves_none(bind: Engine, database: str) -> None:
    create(bind, "e1", kind="webhook")
    claim(bind, kind="webhook", repeats=True)
    end_leases(database)
    (effect,) = claim(bind, kind="webhook", repeats=True)
    assert (effect.open_attempt, effect.sent_until) == (False, None)
    assert ("lease_lost", "pending") in history(database)


def test_a_look_up_does_not_move_the_time_from_which_it_counts(bind: Engine) -> None:
    create(bind, "p1")
    (sent,) = claim(bind)
    assert finish(bind, sent, unknown(sent))
    (looked_up,) = claim(bind)
    assert looked_up.sent_until == sent.lease_until
    assert finish(bind, looked_up, replace(unknown(looked_up), sent_until=looked_up.sent_until))
    (again,) = claim(bind)
    assert (again.sent_until, again.first_sent_at) == (sent.lease_until, sent.first_sent_at)


def test_what_certainly_was_not_sent_starts_afresh(bind: Engine, database: str) -> None:
    create(bind, "p1")
    (effect,) = claim(bind)
    assert finish(bind, effect, Decision(state="pending", delay=timedelta(0)), Throttled(0.0))
    assert rows(database, "SELECT state, first_sent_at, lease_until, claim_token FROM effects") == [
        ("pending", None, None, None)
    ]
    (again,) = claim(bind)
    assert (again.open_attempt, again.sent_until) == (False, None)
    assert again.first_sent_at == again.claimed_at


def test_it_is_not_due_before_its_time(bind: Engine, database: str) -> None:
    create(bind, "p1")
    (effect,) = claim(bind)
    assert finish(bind, effect, unknown(effect, delay_s=60))
    assert claim(bind) == []
    ((until_due,),) = rows(database, "SELECT next_attempt_at - now() FROM effects")
    assert timedelta(seconds=50) < until_due <= timedelta(seconds=60)


def test_what_is_done_is_never_claimed_again(bind: Engine, database: str) -> None:
    create(bind, "p1")
    (effect,) = claim(bind)
    assert finish(bind, effect, DONE, OK)
    end_leases(database)
    assert claim(bind) == []
    assert rows(database, "SELECT state, response, next_attempt_at FROM effects") == [
        ("done", b'{"id":"ch_1","status":"captured"}', None)
    ]


def everything(database: str) -> list[tuple[Any, ...]]:
    return rows(database, "SELECT e.*, (SELECT count(*) FROM effect_history) FROM effects e")


def test_a_paused_worker_cannot_write_over_its_successor(bind: Engine, database: str) -> None:
    """S14."""
    create(bind, "p1")
    (paused,) = claim(bind)
    end_leases(database)
    (successor,) = claim(bind)
    before = everything(database)
    assert not finish(bind, paused, DONE, OK), "its successor is at work"
    assert everything(database) == before
    assert finish(bind, successor, unknown(successor))
    before = everything(database)
    assert not finish(bind, paused, DONE, OK), "its successor's result stands"
    assert everything(database) == before


def test_a_result_is_written_once(bind: Engine, database: str) -> None:
    create(bind, "p1")
    (effect,) = claim(bind)
    assert finish(bind, effect, DONE, OK)
    before = everything(database)
    assert not finish(bind, effect, DONE, OK)
    assert everything(database) == before


def test_the_history_names_the_claim_and_never_keeps_a_body(bind: Engine, database: str) -> None:
    create(bind, "p1")
    (effect,) = claim(bind)
    finish(bind, effect, unknown(effect), SILENCE)
    (again,) = claim(bind)
    finish(bind, again, DONE, OK)
    kept: list[tuple[str, UUID | None, dict[str, Any], datetime]] = rows(  # type: ignore[assignment]
        database, "SELECT event, claim_token, detail, at FROM effect_history ORDER BY id"
    )
    assert [(event, token, detail) for event, token, detail, _ in kept] == [
        ("created", None, {}),
        ("claimed", effect.claim_token, {"attempt": 1, "was": "pending"}),
        ("answered", effect.claim_token, {"asked": "call", "answer": "NoAnswer", "reason": "time-out"}),
        ("claimed", again.claim_token, {"attempt": 2, "was": "unknown"}),
        ("answered", again.claim_token, {"asked": "call", "answer": "Succeeded"}),
    ]
    assert [at for *_, at in kept] == sorted(at for *_, at in kept)


def test_count_by_state(bind: Engine) -> None:
    create(bind, "p1", "p2", "p3")
    (effect,) = claim(bind, limit=1)
    finish(bind, effect, DONE, OK)
    with db.begin(bind) as tx:
        assert effects.count_by_state(tx) == {"pending": 2, "done": 1}


def test_a_backlog_of_another_kind_is_not_read_through(bind: Engine, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO effects (id, kind, subject, tenant, request)"
            " SELECT gen_random_uuid(), 'webhook', n::text, 'acme', '' FROM generate_series(1, 20000) n"
        )
    create(bind, "p1")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ANALYZE effects")
        values = {"kind": "charge", "limit": 10, "lease": timedelta(seconds=30), "repeats": False}
        cursor = psycopg.ClientCursor(connection)
        ((plan,),) = cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + effects.CLAIM, values).fetchall()
    removed = [
        node.get("Rows Removed by Filter", 0)
        for node in nodes(plan[0]["Plan"])
        if "effects" in str(node.get("Relation Name"))
    ]
    assert removed
    assert max(removed) < 100


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
