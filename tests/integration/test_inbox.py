"""The first claim wins, in whichever of the two tables the id belongs to today."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import time
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging import inbox

DAY_MS = 86_400_000


def v7(days: float) -> str:
    """A UUIDv7 of a moment that many days from now."""
    time_ms = int(time() * 1000 + days * DAY_MS)
    return str(UUID(int=(time_ms << 80) | (0x7 << 76) | (0b10 << 62) | (uuid4().int & 0xFFFFFFFF)))


@pytest.fixture
def bind(settings) -> Iterator[Engine]:
    made = db.engine(settings, size=20)
    yield made
    made.dispose()


def claim(bind: Engine, *message_ids: str, consumer: str = "c") -> set[str]:
    with bind.begin() as tx:
        return inbox.claim(tx, consumer, message_ids)


def rows(bind: Engine, table: str) -> int:
    with bind.connect() as tx:
        return tx.scalar(text(f"SELECT count(*) FROM {table}"))


FOREIGN = {
    "a webhook's id": "evt_1",
    "a UUIDv4": str(uuid4()),
    "ours in capitals": str(new_id()).upper(),
    "too old for a partition": v7(-400),
    "too far ahead": v7(400),
    "no calendar has it": "ffffffff-ffff-7fff-bfff-ffffffffffff",
    "not ASCII": "zażółć",
    "255 of the widest": "\U0001f4b6" * 255,
}


def test_a_batch_and_one_more_are_new_once(bind) -> None:
    sent = [str(new_id()) for _ in range(501)]
    assert claim(bind, *sent) == set(sent)
    assert claim(bind, *sent) == set()
    assert rows(bind, "inbox") == 501
    assert rows(bind, "inbox_foreign") == 0
    assert claim(bind, *sent, consumer="another") == set(sent)


@pytest.mark.parametrize("message_id", FOREIGN.values(), ids=FOREIGN)
def test_an_id_without_a_partition_is_foreign_and_new_once(bind, message_id) -> None:
    ours = str(new_id())
    assert claim(bind, message_id, ours, message_id) == {message_id, ours}
    assert claim(bind, message_id, ours) == set()
    assert (rows(bind, "inbox"), rows(bind, "inbox_foreign")) == (1, 1)


def test_an_id_is_remembered_when_its_table_changes(bind) -> None:
    """Claimed before its partition was there, it is found afterwards; and the other way round."""
    early, late = str(new_id()), str(new_id())
    with bind.begin() as tx:
        day = tx.scalar(text("SELECT 'inbox_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')"))
        bounds = tx.scalar(
            text("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = :day"), {"day": day}
        )
        tx.execute(text(f"ALTER TABLE inbox DETACH PARTITION {day}"))
    assert claim(bind, early) == {early}
    assert rows(bind, "inbox_foreign") == 1
    with bind.begin() as tx:
        tx.execute(text(f"ALTER TABLE inbox ATTACH PARTITION {day} {bounds}"))
    assert claim(bind, early) == set()
    assert claim(bind, late) == {late}
    assert rows(bind, "inbox") == 1


def test_of_fifty_at_once_one_wins(bind) -> None:
    message_ids = [str(new_id()), "evt_1"]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda n: claim(bind, *message_ids[:: 1 if n % 2 else -1]), range(50)))
    assert sorted(one for claimed in won for one in claimed) == sorted(message_ids)


def test_a_claim_that_is_rolled_back_is_free_again(bind) -> None:
    with bind.connect() as tx:
        assert inbox.claim(tx, "c", ["evt_1"]) == {"evt_1"}
        tx.rollback()
    assert claim(bind, "evt_1") == {"evt_1"}


def test_the_sweep_forgets_what_arrived_long_ago_and_no_more_at_once_than_it_says(bind, monkeypatch) -> None:
    monkeypatch.setattr(inbox, "SWEEP_ROWS_MAX", 10)
    claim(bind, *(f"evt_{n}" for n in range(12)))
    with bind.begin() as tx:
        tx.execute(text("UPDATE inbox_foreign SET arrived_at = now() - interval '36 days' WHERE message_id <> 'evt_3'"))
    swept = []
    while not swept or swept[-1]:
        with bind.begin() as tx:
            swept.append(inbox.sweep_foreign(tx, timedelta(days=35)))
    assert swept == [10, 1, 0]
    assert claim(bind, "evt_3", "evt_4") == {"evt_4"}
