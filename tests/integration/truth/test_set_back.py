"""A database set back in time, in the ways that really happen: the relay stops loudly, and the repair mends it.

A base backup restored, a standby that lagged promoted under a running relay, a dump reloaded into another server.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from paidonce.app import db
from paidonce.app.settings import Settings
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.postgres import Postgres, find_programs, settings, start_postgres, wait_answers
from paidonce.devstack.postgres_standby import add_standby
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until
from paidonce.migrations.upgrade import upgrade
from paidonce.workers import outbox_repair, outbox_repair_mend, relay
from paidonce.workers.relay_session import OtherServerError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

#: Transactions that the old server ran before; a fresh one has run some hundreds.
MANY = 20_000
#: Seconds until a relay that stands still looks again (30), takes the shard, and publishes, on a busy machine.
GOES_ON_WITHIN_S = 120.0


@pytest.fixture
def server() -> Iterator[tuple[Run, Postgres]]:
    with Run() as run:
        yield run, start_postgres(run, durable=True)


@pytest.fixture
def other_server() -> Iterator[tuple[Run, Postgres]]:
    with Run() as run:
        yield run, start_postgres(run, durable=True)


@pytest.fixture
def site(server: Any, kafka: Kafka, topic: str, rigs: Any) -> Any:
    """A rig on a server of the test's own."""
    made = rigs(Settings(dsn=server[1].dsn, kafka=kafka.bootstrap, topic=topic, relay_name=f"relay-{topic}"))
    upgrade(made.bind, made.settings)
    return made


def base_backup(server: tuple[Run, Postgres]) -> Path:
    run, postgres = server
    folder, programs = run.folder / "backup", find_programs(run)
    folder.mkdir(mode=0o700)
    programs.own(folder)
    programs.run("pg_basebackup", "-d", postgres.dsn, "-D", str(folder / "data"), "--checkpoint=fast", cwd=folder)
    return folder


def restore(server: tuple[Run, Postgres], backup: Path) -> None:
    """Put the backup in the place of the server."""
    run, postgres = server
    assert postgres.process is not None
    postgres.process.stop()
    port = int(postgres.dsn.rsplit(":", 1)[1].split("/")[0])
    process = find_programs(run).serve(run, "restored", backup, settings(port, durable=True))
    wait_answers(postgres.dsn, process)


def stops(logs: list[Any]) -> list[Any]:
    return [log for log in logs if log["event"] == "shard_stopped"]


def mend(rig: Any) -> list[Any]:
    return outbox_repair_mend.mend(rig.settings, rig.bind, [0, 1])


def found(rig: Any) -> list[list[str]]:
    return [one.contradictions for one in outbox_repair.explain(rig.settings, rig.bind)[1]]


def on_topic(rig: Any) -> Counter[str]:
    return Counter(rig.read().ids)


def test_a_base_backup_restored(site: Any, server: Any) -> None:
    kept = site.append(*site.keys)
    site.publish()
    backup = base_backup(server)
    waiting = site.append(*site.keys, first=10)
    site.publish()
    lost = site.append(*site.keys, first=20)
    site.publish()
    site.bind.dispose()
    restore(server, backup)
    assert site.one("SELECT count(*) FROM outbox") == len(kept)
    new = site.append(*site.keys, first=30)
    with capture_logs() as logs:
        assert site.publish() == 0
    assert [log["shard"] for log in stops(logs)] == [0, 1]
    before = on_topic(site)
    assert found(site) == [["kafka-ahead"]] * 2
    assert on_topic(site) == before, "explaining changes nothing"
    mend(site)
    assert found(site) == [[], []]
    site.publish()
    newer = site.append(*site.keys, first=40)
    site.publish()
    times = on_topic(site)
    assert {times[id_] for id_ in new + newer} == {1}
    assert {times[id_] for id_ in waiting + lost} == {1}, "what the database has lost stays on the topic"
    assert {times[id_] for id_ in kept} <= {1, 2}, "of the newest window nobody is certain"


def test_a_standby_that_lagged_promoted_under_a_running_relay(
    site: Any, server: Any, rigs: Any, relay_process: Any, tmp_path: Path
) -> None:
    """The relay that stood still goes on by itself after the repair."""
    run, postgres = server
    kept = site.append(*site.keys)
    site.publish()
    pair = add_standby(run, postgres, durable=True)
    both = rigs(site.settings.model_copy(update={"dsn": Settings(dsn=pair.dsn).dsn}))
    with relay_process(both.settings):
        lag(pair)
        lost = site.append(*site.keys, first=10)
        until(lambda: on_topic(site)[lost[-1]] == 1, within_s=60, what="the relay to publish")
        site.bind.dispose()
        pair.primary.stop()
        pair.promote()
        new = both.append(*both.keys, first=20)
        log = tmp_path / "relay.log"
        until(lambda: log.read_text().count('"shard_stopped"') == 2, within_s=60, what="both shards to stop")
        assert found(both) == [["kafka-ahead"]] * 2
        mend(both)
        until(both.is_drained, within_s=GOES_ON_WITHIN_S, what="the relay to go on")
    times = on_topic(both)
    assert {times[id_] for id_ in new} == {1}
    assert {times[id_] for id_ in kept} <= {1, 2}
    assert {times[id_] for id_ in lost} == {1}


def lag(pair: Any) -> None:
    """Nobody waits for the standby any more, and it hears nothing more of the primary."""
    with psycopg.connect(pair.primary_dsn, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        connection.execute("SELECT pg_reload_conf()")
    with psycopg.connect(pair.standby_dsn, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        connection.execute("SELECT pg_reload_conf()")
    with psycopg.connect(pair.primary_dsn, autocommit=True) as connection:
        gone = "SELECT count(*) FROM pg_stat_replication"
        until(lambda: connection.execute(gone).fetchone() == (0,), within_s=30, what="the standby to be cut off")


@pytest.mark.parametrize("went_on", [False, True], ids=["Kafka agrees", "Kafka is ahead"])
def test_a_dump_reloaded_into_another_server(
    site: Any, server: Any, other_server: Any, rigs: Any, went_on: bool
) -> None:
    """The old transaction ids are far ahead of the new server's: nothing is lost, and nothing new is hidden."""
    # Some before any window, so that the repair has ids below the new server's to tell from its own.
    published = site.append(*site.keys)
    burn(site)
    for first in (10, 20, 30):
        published += site.append(*site.keys, first=first)
        site.publish(relay_window_events=3)
    recorded = site.append(*site.keys, first=40)
    site.record_only()
    unrecorded = site.append(*site.keys, first=50)
    dump = pg_dump(server)
    if went_on:
        site.publish()
        site.append(*site.keys, first=60)
        site.publish()
    site.bind.dispose()
    reloaded = rigs(site.settings.model_copy(update={"dsn": Settings(dsn=other_server[1].dsn).dsn}))
    pg_restore(other_server, dump)
    native = reloaded.append(*reloaded.keys, first=70) + in_savepoint(reloaded)
    with pytest.raises(OtherServerError, match=r"system_identifier.*paidonce outbox repair") as stopped:
        reloaded.publish()
    assert relay.is_transient(stopped.value), "the process complains, and goes on once it is mended"
    ahead = ["kafka-ahead"] if went_on else []
    assert found(reloaded) == [[*ahead, "other-server", "transaction-ids-behind"]] * 2
    said = {one.shard: one.events_after for one in outbox_repair.explain(reloaded.settings, reloaded.bind)[1]}
    mend(reloaded)
    assert found(reloaded) == [[], []]
    assert reloaded.publish() == sum(said.values()), "as many as was said"
    native += reloaded.append(*reloaded.keys, first=80)
    reloaded.publish()
    times = on_topic(reloaded)
    assert {times[id_] for id_ in native} == {1}
    if went_on:
        assert {times[id_] for id_ in recorded + unrecorded} == {2}
        assert {times[id_] for id_ in published} <= {1, 2}
    else:
        assert reloaded.check_exactly_once() == len(published + recorded + unrecorded + native)
    # The windows that were made anew hold all that was published, too: a topic made anew gets each event once.
    with reloaded.admin() as admin:
        admin.delete_topics([reloaded.settings.topic])
        until(lambda: reloaded.settings.topic not in admin.list_topics(), within_s=30, what="the topic to be gone")
    reloaded.publish(relay_window_events=3)
    assert reloaded.check_exactly_once() == len(published + recorded + unrecorded + native)


def burn(rig: Any) -> None:
    rig.rows(f"DO $$ BEGIN FOR n IN 1..{MANY} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")


def in_savepoint(rig: Any) -> list[str]:
    """An event written in a subtransaction: the row's own id is not that of its transaction."""
    with psycopg.connect(db.libpq_dsn(rig.settings)) as tx:
        tx.execute("SELECT pg_current_xact_id()")
        with tx.transaction():
            row = tx.execute(
                "INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload) VALUES"
                " (uuidv7(), 'payment', 'key-0', 'payment.accepted', 99, '{}') RETURNING id::text"
            ).fetchone()
    assert row is not None
    return [row[0]]


def pg_dump(server: tuple[Run, Postgres]) -> Path:
    run, postgres = server
    folder = run.folder / "dump"
    folder.mkdir(mode=0o700)
    programs = find_programs(run)
    programs.own(folder)
    programs.run("pg_dump", "-d", postgres.dsn, "-f", str(folder / "dump.sql"), cwd=folder)
    return folder / "dump.sql"


def pg_restore(server: tuple[Run, Postgres], dump: Path) -> None:
    run, postgres = server
    folder = run.folder / "dump"
    folder.mkdir(mode=0o700)
    copy, programs = folder / "dump.sql", find_programs(run)
    shutil.copy(dump, copy)
    programs.own(folder, copy)
    programs.run("psql", "-d", postgres.dsn, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(copy), cwd=folder)
