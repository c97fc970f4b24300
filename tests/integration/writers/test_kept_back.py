"""Days go whole, when nobody needs them; whoever still does keeps them, loudly."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from time import time
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from typer.testing import CliRunner

from paidonce.app.clock import new_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import envelope, inbox, partitions, starts
from paidonce.app.messaging.envelope import Event
from paidonce.app.settings import Settings
from paidonce.cli import app
from paidonce.devstack.ports import free_port
from paidonce.workers import doctor_checks
from paidonce.workers.cleaner import Cleaner
from paidonce.workers.consumer_member import group_of
from paidonce.workers.forgetting import forget

#: Days ago: over the outbox's retention, and over the inbox's.
OLD, OLDER = 4, 11
KEPT_BACK = "paidonce_partitions_kept_back"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Short times that fit each other: 2 days of outbox and 7 more in which a message can come back."""
    return settings.model_copy(
        update={
            "outbox_retention_d": 2,
            "topic_retention_d": 5,
            "topic_segment_d": 1,
            "redrive_horizon_d": 1,
            "clock_skew_s": 60,
            "inbox_retention_d": 10,
            "partitions_ahead_d": 1,
            "cleaner_lease_s": 60.0,
        }
    )


@pytest.fixture
def name() -> str:
    return f"reader-{uuid4().hex[:8]}"


@pytest.fixture
def admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    made = KafkaAdminClient(bootstrap_servers=settings.kafka)
    yield made
    made.close()


@pytest.fixture
def clean(rig: Any) -> Iterator[Any]:
    """Runs a round of a cleaner and returns what it said of days that stay, by table and reason."""
    made: list[Cleaner] = []

    def run(cleaner: Cleaner | None = None) -> dict[tuple[str, str], str]:
        if cleaner is None:
            cleaner = Cleaner(rig.settings, rig.bind)
            made.append(cleaner)
        with capture_logs() as logs:
            cleaner.run_once()
        for one in made:
            one.close()
        kept = [line for line in logs if line["event"] == "partitions_kept_back"]
        assert all(line["log_level"] == "warning" for line in kept if line["because"])
        return {(line["table"], line["why"]): line["because"] for line in kept}

    yield run
    for one in made:
        one.close()


def day(days_ago: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=days_ago)


def make_day(rig: Any, days_ago: int) -> None:
    partitions.ensure(rig.bind, day(days_ago), ahead_d=1, behind_d=1)


def has(rig: Any, table: partitions.Partitioned, days_ago: int) -> bool:
    with rig.bind.connect() as tx:
        return day(days_ago) in partitions.attached(tx, table) or day(days_ago) in partitions.loose(tx, table)


def gauge(table: str, why: str) -> float | None:
    return REGISTRY.get_sample_value(KEPT_BACK, {"table": table, "why": why})


def count_on(rig: Any, name: str, *, for_days: int = 10) -> None:
    """Make `name` a consumer that has been here for so long."""
    with rig.bind.begin() as tx:
        starts.hold(tx, consumer=name, topic=rig.settings.topic, partitions=[0], session=new_id())
        tx.exec_driver_sql(
            "INSERT INTO readers VALUES (%s, %s, now() - %s * interval '1 day')", (name, rig.settings.topic, for_days)
        )


def send(settings: Settings, ids: list[str], days_ago: int = 0) -> None:
    """Put messages on the topic as a relay did so many days ago."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka, acks="all")
    for id_ in ids:
        event = Event(id_, "payment", "k", "payment.captured", 1, b"{}")  # type: ignore[arg-type]  text does as well
        producer.send(
            settings.topic,
            key=b"k",
            value=b"{}",
            headers=envelope.encode(event, datetime.now(UTC)),
            timestamp_ms=int((time() - days_ago * 86_400) * 1000),
        )
    producer.flush(timeout=30)
    producer.close()


def test_a_consumer_that_is_behind_keeps_what_it_has_not_read(rig: Any, clean: Any, name: str) -> None:
    make_day(rig, OLD)
    rig.publish()
    send(rig.settings, [str(new_id())], days_ago=OLD)
    count_on(rig, name, for_days=0)
    kept = clean()
    assert set(kept) == {("outbox", "consumer")}
    said = kept["outbox", "consumer"]
    assert f"consumer {name} has read to {day(OLD)}" in said
    assert f"paidonce consumers forget {name}" in said
    assert has(rig, "outbox", OLD)
    assert (gauge("outbox", "consumer") or 0) >= 1
    assert (
        REGISTRY.get_sample_value("paidonce_partition_oldest_age_seconds", {"table": "outbox"}) or 0
    ) >= OLD * 86_400
    rig.consume(name, 1)
    dropped = REGISTRY.get_sample_value("paidonce_partitions_dropped_total", {"table": "outbox"}) or 0
    assert clean() == {}
    assert not has(rig, "outbox", OLD)
    assert gauge("outbox", "consumer") == 0
    assert (REGISTRY.get_sample_value("paidonce_partitions_dropped_total", {"table": "outbox"}) or 0) > dropped


@pytest.mark.slow
def test_what_the_topic_has_forgotten_unread_stays_until_it_was_published_again(
    rig: Any, clean: Any, name: str, admin: KafkaAdminClient
) -> None:
    make_day(rig, OLD)
    with rig.writer(autocommit=True) as tx:
        lost = [rig.insert(tx, days_ago=OLD) for _ in range(3)]
        # A writer of somebody's own may draw ids of any kind.
        lost.append(str(uuid4()))
        tx.execute(
            "INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, created_at)"
            " VALUES (%s, 'payment', 'k', 'payment.captured', 1, '{}', now() - %s * interval '1 day')",
            (lost[-1], OLD),
        )
        rig.publish()
        rig.ids(4)
        everything = {TopicPartition(rig.settings.topic, one): -1 for one in range(rig.settings.topic_partitions)}
        admin.delete_records(everything)
        rig.insert(tx)
        rig.publish()
    count_on(rig, name)
    rig.consume(name, 1)
    said = clean()["outbox", "consumer"]
    assert f"consumer {name} never got event " in said
    assert any(id_ in said for id_ in lost)
    send(rig.settings, lost[:3])
    rig.consume(name, 3)
    assert lost[3] in clean()["outbox", "consumer"]
    assert has(rig, "outbox", OLD)
    send(rig.settings, lost[3:])
    rig.consume(name, 1)
    assert clean() == {}
    assert not has(rig, "outbox", OLD)


@pytest.mark.slow
def test_what_was_published_before_a_consumer_came_is_not_kept_for_it(rig: Any, clean: Any, name: str) -> None:
    make_day(rig, OLD)
    with rig.writer(autocommit=True) as tx:
        rig.insert(tx, days_ago=OLD)
    rig.publish()
    count_on(rig, name, for_days=0)
    assert clean() == {}
    assert not has(rig, "outbox", OLD)


@pytest.mark.slow
def test_a_consumer_that_is_gone_is_forgotten_by_command_and_not_while_it_runs(
    rig: Any, clean: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_day(rig, OLD)
    with rig.writer(autocommit=True) as tx:
        rig.insert(tx)
        rig.publish()
        rig.consume(name, 1)
        rig.insert(tx, days_ago=OLD)
        rig.publish()
    count_on(rig, name)
    assert name in clean()["outbox", "consumer"]
    member = KafkaConsumer(
        rig.settings.topic,
        bootstrap_servers=rig.settings.kafka,
        group_id=group_of(rig.settings, name),
        enable_auto_commit=False,
    )
    while not member.assignment():
        member.poll(timeout_ms=100)
    with pytest.raises(ConfigurationError, match="still runs"):
        forget(rig.settings, name)
    member.close(autocommit=False)
    monkeypatch.setattr("paidonce.app.settings.settings", lambda: rig.settings)
    answer = CliRunner().invoke(app, ["consumers", "forget", name])
    assert (answer.exit_code, answer.output) == (0, f"nothing is kept for {name} any more\n")
    clean()
    assert not has(rig, "outbox", OLD)
    with pytest.raises(ConfigurationError, match="nothing is kept for a consumer"):
        forget(rig.settings, name)


@pytest.mark.slow
def test_without_kafka_nothing_goes_and_the_log_says_it_once(rig: Any, clean: Any, name: str) -> None:
    make_day(rig, OLD)
    count_on(rig, name)
    with rig.writer(autocommit=True) as tx:
        tx.execute("INSERT INTO inbox_foreign VALUES ('c', 'old', now() - interval '11 days')")
        away = rig.settings.model_copy(update={"kafka": f"127.0.0.1:{free_port()}", "relay_lease_s": 0.1})
        cleaner = Cleaner(away, rig.bind)
        assert set(clean(cleaner)) >= {("outbox", "broker")}
        assert tx.execute("SELECT count(*) FROM inbox_foreign").fetchone() == (0,), "rows go all the same"
        assert clean(cleaner) == {}
        assert (gauge("outbox", "broker") or 0) >= 1
        cleaner.close()
        assert has(rig, "outbox", OLD)
        rig.insert(tx)
    rig.publish()
    rig.consume(name, 1)
    assert clean() == {}
    assert not has(rig, "outbox", OLD)


def test_a_prepared_transaction_that_was_left_behind_keeps_all_days_and_is_named(rig: Any, clean: Any) -> None:
    make_day(rig, OLD)
    gid = f"left-{uuid4().hex}"
    with rig.writer() as tx:
        rig.insert(tx)
        tx.execute(f"PREPARE TRANSACTION '{gid}'".encode())
        tx.commit()
        said = clean()["outbox", "transaction"]
        assert f"the prepared transaction '{gid}'" in said
        assert has(rig, "outbox", OLD)
        assert (gauge("outbox", "transaction") or 0) >= 1
        tx.commit()
        tx.autocommit = True
        tx.execute(f"ROLLBACK PREPARED '{gid}'".encode())
    assert clean() == {}
    assert not has(rig, "outbox", OLD)


def test_a_relay_that_is_behind_keeps_what_it_has_not_published(rig: Any, clean: Any) -> None:
    make_day(rig, OLD)
    with rig.writer(autocommit=True) as tx:
        for _ in range(3):
            rig.insert(tx, days_ago=OLD)
    assert " 3 events are not known to be published, the oldest 4 days, 0:0" in clean()["outbox", "relay"]
    rig.publish()
    assert clean() == {}
    assert not has(rig, "outbox", OLD)


def test_full_days_are_dropped_and_no_row_of_them_is_ever_deleted_or_changed(rig: Any, clean: Any, name: str) -> None:
    make_day(rig, OLD)
    make_day(rig, OLDER + 1)
    count = 120
    with rig.writer() as tx:
        tx.execute("""
            CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a row is touched'; END $$;
            CREATE TRIGGER never BEFORE DELETE OR UPDATE ON outbox FOR EACH ROW EXECUTE FUNCTION never();
            CREATE TRIGGER never BEFORE DELETE OR UPDATE ON inbox FOR EACH ROW EXECUTE FUNCTION never();
        """)
        sent = [rig.insert(tx, f"key-{number % 8}", days_ago=OLD) for number in range(count)]
        old = [rig.insert(tx, days_ago=OLDER + 1)]
    rig.publish()
    rig.consume(name, count + 1)
    with rig.bind.begin() as tx:
        assert inbox.count(tx, name) == len(sent + old)
    count_on(rig, name)
    clean()
    assert not has(rig, "outbox", OLD)
    with rig.writer(autocommit=True) as tx:
        tx.execute("ALTER TABLE inbox DISABLE TRIGGER never; UPDATE inbox SET arrived_at = now() - interval '11 days'")
        tx.execute("UPDATE outbox_days_gone SET at = now() - interval '8 days'")
        found = tx.execute("""
            SELECT sum(n_tup_del), sum(n_tup_upd), sum(n_dead_tup) FROM pg_stat_user_tables WHERE relname ~ '^outbox_2'
        """).fetchone()
        assert found == (0, 0, 0)
    clean()
    assert not has(rig, "inbox", OLDER + 1)


def test_the_inbox_remembers_a_day_while_the_outbox_can_publish_it_again(rig: Any, clean: Any) -> None:
    """S15 with an outbox that is kept back: the inbox does not forget before what it must outlast."""
    make_day(rig, OLDER)
    with rig.writer(autocommit=True) as tx:
        id_ = rig.insert(tx, days_ago=OLDER)
        with rig.bind.begin() as claiming:
            assert inbox.claim(claiming, "another", [id_]) == {id_}
        tx.execute("UPDATE inbox SET arrived_at = now() - interval '11 days'")
        kept = clean()
        assert ("outbox", "relay") in kept
        assert "may be published again" in kept["inbox", "outbox"]
        rig.publish()
        assert clean() == {("inbox", "comes_back"): ""}, "published again on its last day, it may still come"
        assert not has(rig, "outbox", OLDER)
        with rig.bind.begin() as claiming:
            assert inbox.claim(claiming, "another", [id_]) == set()
        tx.execute("UPDATE outbox_days_gone SET at = now() - interval '8 days'")
        assert clean() == {}
        assert not has(rig, "inbox", OLDER)
        assert tx.execute("SELECT count(*) FROM outbox_days_gone WHERE day < %s", (day(OLDER + 1),)).fetchone() == (0,)


def test_a_claim_that_was_under_way_while_its_day_left_is_kept(rig: Any, clean: Any) -> None:
    make_day(rig, OLDER + 1)
    id_ = str(rig.v7(OLDER + 1))
    with rig.writer(autocommit=True) as tx, rig.bind.begin() as claiming:
        assert inbox.claim(claiming, "c", [id_]) == {id_}
        claiming.commit()
        partitions.detach(tx, "inbox", day(OLDER + 1), pending=False)
    clean()
    assert not has(rig, "inbox", OLDER + 1)
    with rig.bind.begin() as claiming:
        assert inbox.claim(claiming, "c", [id_]) == set()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        pytest.param(("retention.ms", "-1"), "for ever (retention.ms=-1)", marks=pytest.mark.slow),
        (("cleanup.policy", "compact"), "for ever (cleanup.policy=compact)"),
        pytest.param(("segment.ms", str(5 * 86_400_000)), "segment (segment.ms) 5 days", marks=pytest.mark.slow),
    ],
)
def test_a_topic_that_is_altered_is_noticed_while_running_at_a_start_and_by_the_doctor(
    rig: Any, clean: Any, name: str, admin: KafkaAdminClient, option: tuple[str, str], said: str
) -> None:
    make_day(rig, OLDER + 1)
    with rig.writer(autocommit=True) as tx:
        rig.insert(tx)
    rig.publish()
    doctor_checks.kafka(rig.settings)
    admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, rig.settings.topic, dict([option]))], incremental=True
    )
    assert said in clean()["inbox", "topic"]
    assert has(rig, "inbox", OLDER + 1)
    assert not has(rig, "outbox", OLD)
    with pytest.raises(ConfigurationError) as refused:
        rig.consume(name, 1)
    with pytest.raises(ConfigurationError) as found:
        doctor_checks.kafka(rig.settings)
    assert said in str(refused.value)
    assert str(refused.value) == str(found.value)


@pytest.mark.parametrize("days", [-20, 20])
def test_one_clock_that_is_wrong_makes_no_day_old(rig: Any, clean: Any, days: int, monkeypatch: Any) -> None:
    make_day(rig, OLD)
    wrong = datetime.now(UTC) + timedelta(days=days)
    cleaner = Cleaner(rig.settings, rig.bind)
    with rig.bind.connect() as tx:
        before = set(partitions.attached(tx, "outbox"))
    with monkeypatch.context() as patched:
        # The database's clock jumps; this machine's does not.
        patched.setattr(partitions, "now", lambda _tx: wrong)
        said = clean(cleaner)
    assert all(why == "clock" for _, why in said)
    assert ("outbox", "clock") in said or days < 0
    with rig.bind.connect() as tx:
        assert before <= set(partitions.attached(tx, "outbox"))
    assert ("outbox", "clock") not in clean(cleaner), "set right, it goes on"
    assert not has(rig, "outbox", OLD)
    cleaner.close()
    with rig.writer(autocommit=True) as tx:
        rig.insert(tx)
