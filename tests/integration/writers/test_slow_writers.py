"""Never behind a slow writer, never losing a late commit: as a `read_committed` reader of the topic sees it."""

import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import BoundedSemaphore
from time import monotonic
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from paidonce.app.messaging import partitions
from paidonce.app.settings import Settings
from paidonce.workers import cleaner as cleaner_module
from paidonce.workers.cleaner import Cleaner

WRITERS, TRANSACTIONS = 16, 12
KEYS = [f"key-{number}" for number in range(24)]
#: The server has room for ten; each holds its keys until it is decided.
PREPARED = BoundedSemaphore(4)
#: Seconds that the slowest transactions stay open.
SLOW_S = 1.5
IDLE_S = 60


@pytest.fixture
def dsn(settings: Settings) -> str:
    """The database, with a version for each key: who writes an event locks its key first."""
    with psycopg.connect(settings.dsn.get_secret_value(), autocommit=True) as tx:
        tx.execute("CREATE TABLE versions AS SELECT unnest(%s::text[]) AS key, 0::bigint AS n", (KEYS,))
    return settings.dsn.get_secret_value()


class Writer:
    """Transactions of every kind that delay or confuse a reader; keeps what it committed, key by key."""

    def __init__(self, rig: Any, dsn: str, seed: int, *, slow: bool) -> None:
        self.rig, self.dsn, self.dice, self.slow = rig, dsn, random.Random(seed), slow

    def run(self) -> list[str]:
        committed: list[str] = []
        with psycopg.connect(self.dsn) as tx, psycopg.connect(self.dsn, autocommit=True) as decider:
            for _ in range(2 if self.slow else TRANSACTIONS):
                if self.dice.random() < 0.5:
                    tx.execute("SELECT pg_current_xact_id()")
                keys = sorted(self.dice.sample(KEYS, self.dice.randint(1, 3)))
                written = [id_ for key in keys for id_ in self.write(tx, key)]
                if self.end(tx, decider):
                    committed += written
        return committed

    def write(self, tx: psycopg.Connection[Any], key: str) -> list[str]:
        """Some events of one key, perhaps within savepoints of which some are taken back; those that stay."""
        kept = [self.event(tx, key)] if self.dice.random() < 0.7 else []
        for _ in range(self.dice.randint(0, 2)):
            tx.execute("SAVEPOINT one")
            inner = [self.event(tx, key)]
            if self.dice.random() < 0.3:
                tx.execute("SAVEPOINT two")
                inner += [self.event(tx, key)]
                if self.dice.random() < 0.5:
                    tx.execute("ROLLBACK TO two")
                    inner.pop()
            if self.dice.random() < 0.4:
                tx.execute("ROLLBACK TO one")
            else:
                tx.execute("RELEASE one")
                kept += inner
        tx.execute("SELECT pg_sleep(%s)", (SLOW_S / 3 if self.slow else self.dice.random() / 100,))
        return kept

    def event(self, tx: psycopg.Connection[Any], key: str) -> str:
        row = tx.execute("UPDATE versions SET n = n + 1 WHERE key = %s RETURNING n", (key,)).fetchone()
        assert row is not None
        return self.rig.insert(tx, key, row[0])

    def end(self, tx: psycopg.Connection[Any], decider: psycopg.Connection[Any]) -> bool:
        """Commit or not, in one phase or in two; tell which."""
        commits = self.dice.random() < 0.75
        if self.dice.random() < 0.25:
            gid = uuid4().hex
            with PREPARED:
                tx.execute(f"PREPARE TRANSACTION '{gid}'".encode())
                tx.commit()
                decider.execute("SELECT pg_sleep(0.05)")
                decider.execute(f"{'COMMIT' if commits else 'ROLLBACK'} PREPARED '{gid}'".encode())
        elif commits:
            tx.commit()
        else:
            tx.rollback()
        return commits


def test_of_sixteen_writers_of_every_kind_nothing_is_lost_doubled_or_out_of_order(rig: Any, dsn: str) -> None:
    relay = rig.relay()
    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(Writer(rig, dsn, seed, slow=seed < 3).run) for seed in range(WRITERS)]
        while not all(writer.done() for writer in writers):
            rig.drain(relay)
        committed = [id_ for writer in writers for id_ in writer.result()]
    rig.drain(relay)
    assert len(committed) > WRITERS * TRANSACTIONS
    assert sorted(rig.ids(len(committed))) == sorted(committed)
    sequences = defaultdict(list)
    for record in rig.read(len(committed)):
        sequences[record.key].append(int(dict(record.headers)["ce_sequence"]))
    assert all(found == list(range(1, len(found) + 1)) for found in sequences.values())


def test_an_event_in_a_savepoint_bears_the_whole_transactions_id(rig: Any) -> None:
    with rig.writer() as tx:
        tx.execute("SAVEPOINT one")
        inner = rig.insert(tx)
        tx.execute("SAVEPOINT two")
        rig.insert(tx)
        tx.execute("ROLLBACK TO two")
        tx.execute("RELEASE one")
        outer = rig.insert(tx)
        found = tx.execute("SELECT id::text, txid = pg_current_xact_id() FROM outbox ORDER BY position").fetchall()
        assert found == [(inner, True), (outer, True)]
        relay = rig.relay()
        assert rig.drain(relay) == 0, "released, and not committed"
        tx.commit()
    assert rig.drain(relay) == 2
    assert rig.ids(2) == [inner, outer]


@pytest.mark.parametrize("prepared", [False, True])
def test_others_events_arrive_while_a_writer_stands_still(rig: Any, prepared: bool) -> None:
    relay, gid = rig.relay(), uuid4().hex
    with rig.writer() as idle, rig.writer(autocommit=True) as other:
        idle.execute("SELECT pg_current_xact_id()")
        early = rig.insert(other)
        late = rig.insert(idle)
        if prepared:
            idle.execute(f"PREPARE TRANSACTION '{gid}'".encode())
        for count in range(1, 6):
            latest = rig.insert(other)
            rig.drain(relay)
            found = rig.ids(1 + count)
            assert (len(found), found[0], found[-1]) == (1 + count, early, latest)
        if prepared:
            idle.commit()
            other.execute(f"COMMIT PREPARED '{gid}'".encode())
        else:
            idle.commit()
    rig.drain(relay)
    assert rig.ids(7)[-1] == late
    assert len(set(rig.ids(7))) == len(rig.ids(7)) == 7


def test_what_is_rolled_back_never_arrives_and_holds_nothing_up(rig: Any) -> None:
    relay, gid = rig.relay(), uuid4().hex
    with rig.writer() as first, rig.writer() as second, rig.writer(autocommit=True) as other:
        rig.insert(first)
        rig.insert(second)
        second.execute(f"PREPARE TRANSACTION '{gid}'".encode())
        second.commit()
        kept = [rig.insert(other)]
        rig.drain(relay)
        first.rollback()
        other.execute(f"ROLLBACK PREPARED '{gid}'".encode())
        kept.append(rig.insert(other))
    rig.drain(relay)
    assert rig.ids(2) == kept


def test_days_come_and_go_past_an_idle_writer_while_the_relay_runs(
    rig: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detachments time out on the idle writer's lock; nobody waits for them, not writers, not the relay."""
    monkeypatch.setattr(cleaner_module, "LOCK_TIMEOUT_MS", 200)
    relay = rig.relay()
    with rig.bind.connect() as tx:
        today = partitions.now(tx).date()
    partitions.ensure(rig.bind, today - timedelta(days=20), ahead_d=0, behind_d=1)
    cleaner = Cleaner(settings, rig.bind)
    with rig.writer() as idle, rig.writer(autocommit=True, options="-c lock_timeout=5s") as other:
        late = rig.insert(idle)
        with ThreadPoolExecutor(1) as pool:
            rounds = pool.submit(lambda: [cleaner.run_once() for _ in range(3)])
            sent = []
            while not rounds.done():
                sent.append(rig.insert(other))
                rig.drain(relay)
                assert rig.ids(len(sent)) == sent
            rounds.result()
        assert partitions.ensure(rig.bind, today + timedelta(days=30), ahead_d=1, behind_d=0) > 0
        idle.commit()
    cleaner.run_once()
    cleaner.close()
    with rig.bind.connect() as tx:
        assert min(partitions.attached(tx, "outbox")) == today - timedelta(days=1)
    rig.drain(relay)
    assert rig.ids(len(sent) + 1) == [*sent, late]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_transaction_idle_for_a_minute_delays_nobody(rig: Any) -> None:
    relay = rig.relay()
    with rig.writer() as idle, rig.writer(autocommit=True) as other:
        late = rig.insert(idle)
        deadline, latest = monotonic() + IDLE_S, []
        while monotonic() < deadline:
            latest.append(rig.insert(other))
            rig.drain(relay)
            assert rig.ids(len(latest)) == latest
            other.execute("SELECT pg_sleep(0.5)")
        idle.commit()
    rig.drain(relay)
    assert rig.ids(len(latest) + 1) == [*latest, late]
