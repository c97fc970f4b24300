"""A server that is killed hands out transaction ids again that nobody had written: no later event is lost by it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from signal import SIGQUIT
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from paidonce.app import db
from paidonce.app.settings import Settings
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.postgres import Postgres, restart_postgres, start_postgres
from paidonce.devstack.runs import Run
from paidonce.migrations.upgrade import upgrade
from paidonce.workers.relay_shards import Relay

#: Transactions that are open at the crash and have done nothing but take an id.
OPEN = 40
#: Those that took an id and gave up: their record of it is in memory only.
ABORTED = 400
#: Written without hurry, so that a crash loses what no commit has forced out.
LAZY = {"wal_writer_delay": "10s", "bgwriter_delay": "10s", "checkpoint_timeout": "1h"}
AFTER = 60
#: The newest window of each shard, unless it is marked as published.
UNMARKED = """
    SELECT count(*) FROM relay_windows AS one
     WHERE published IS NULL
       AND number = (SELECT max(number) FROM relay_windows AS other WHERE other.shard = one.shard)
"""
LOOKS_MOST = 300

pytestmark = pytest.mark.timeout(240)


@dataclass
class Server:
    """A PostgreSQL of the test's own, whose data a crash of the process must not lose."""

    run: Run
    postgres: Postgres

    def crash(self) -> None:
        """Kill every process of it at once, and start it again."""
        process = self.postgres.process
        assert process is not None
        process.send(SIGQUIT)
        process.end(within_s=30)
        restart_postgres(self.run, self.postgres.dsn, process)


@pytest.fixture
def server() -> Iterator[Server]:
    with Run() as run:
        yield Server(run, start_postgres(run, durable=True, more=LAZY))


@pytest.fixture
def settings(server: Server, kafka: Kafka, settings_without_database: Settings) -> Settings:
    made = settings_without_database.model_copy(update={"dsn": SecretStr(server.postgres.dsn), "relay_lease_s": 600.0})
    engine = create_engine(db.sqlalchemy_url(made), poolclass=NullPool)
    upgrade(engine, made)
    engine.dispose()
    return made


def next_id(rig: Any) -> int:
    """The first transaction id that nobody has."""
    with rig.writer() as tx:
        [xmax] = tx.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
    return int(xmax)


def come_to_rest(relay: Relay, tx: psycopg.Connection[Any]) -> None:
    """Let the relay write down what it published: afterwards it writes nothing until its lease is due."""
    for _ in range(LOOKS_MOST):
        relay.run_once()
        [unmarked] = tx.execute(UNMARKED).fetchone() or ()
        if not unmarked:
            return
        tx.execute("SELECT pg_sleep(0.1)")
    raise AssertionError("the relay does not write down what it published")


def take_ids(rig: Any, opened: ExitStack) -> None:
    """Take transaction ids and write nothing under them."""
    for _ in range(OPEN):
        # Its connection breaks in the crash; the last words of it are nobody's business.
        tx = rig.writer()
        opened.callback(tx.close)
        tx.execute("SELECT pg_current_xact_id()")
    with rig.writer() as tx:
        for _ in range(ABORTED):
            tx.execute("SELECT pg_current_xact_id()")
            tx.rollback()


@pytest.mark.slow
@pytest.mark.parametrize("published_meanwhile", [False, True])
def test_ids_that_are_handed_out_again_hide_no_event(rig: Any, server: Server, published_meanwhile: bool) -> None:
    relay = rig.relay()
    with rig.writer(autocommit=True) as tx:
        sent = [rig.insert(tx, f"key-{number}") for number in range(4)]
        rig.drain(relay)
        come_to_rest(relay, tx)
    with ExitStack() as opened:
        take_ids(rig, opened)
        if published_meanwhile:
            with rig.writer(autocommit=True) as tx:
                sent += [rig.insert(tx, f"key-{number}") for number in range(4)]
        # With nothing to publish the relay looks all the same: what it sees then must not outlive the server.
        rig.drain(relay)
        before = next_id(rig)
        server.crash()
    again = next_id(rig)
    assert published_meanwhile or again < before - ABORTED // 2, "no id is handed out again: the test proves nothing"
    with rig.writer(autocommit=True) as tx:
        sent += [rig.insert(tx, f"key-{number % 8}", number) for number in range(AFTER)]
    rig.drain(relay)
    assert sorted(rig.ids(len(sent))) == sorted(sent)


@pytest.mark.slow
def test_what_was_prepared_before_a_crash_arrives_when_it_is_committed(rig: Any, server: Server) -> None:
    relay = rig.relay()
    with rig.writer(autocommit=True) as tx:
        sent = [rig.insert(tx)]
    with rig.writer() as tx:
        late = [rig.insert(tx), rig.insert(tx, "another")]
        tx.execute("PREPARE TRANSACTION 'before the crash'")
        tx.commit()
    rig.drain(relay)
    server.crash()
    with rig.writer(autocommit=True) as tx:
        sent.append(rig.insert(tx))
        rig.drain(relay)
        assert sorted(rig.ids(2)) == sorted(sent)
        tx.execute("COMMIT PREPARED 'before the crash'")
    rig.drain(relay)
    assert sorted(rig.ids(4)) == sorted(sent + late)


@pytest.mark.slow
def test_a_server_that_commits_lazily_loses_no_window(rig: Any, server: Server) -> None:
    """Kafka has a window only when the database cannot lose it, whatever the server's default."""
    with psycopg.connect(server.postgres.dsn, autocommit=True) as tx:
        tx.execute("ALTER SYSTEM SET synchronous_commit = off")
        tx.execute("SELECT pg_reload_conf()")
    relay = rig.relay()
    with rig.writer(autocommit=True) as tx:
        sent = [rig.insert(tx) for _ in range(3)]
    rig.drain(relay)
    server.crash()
    with rig.writer(autocommit=True) as tx:
        sent.append(rig.insert(tx))
    rig.drain(relay)
    assert rig.ids(4) == sent
