"""On real servers: is the answer lost of exactly the request that was meant, and is its work done?"""

from collections.abc import Iterator
from itertools import takewhile
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from psycopg.pq import ExecStatus
from valkey import Valkey as Client
from valkey.exceptions import ConnectionError as ValkeyConnectionError

from paidonce.chaos.proxy.client import Proxies
from paidonce.chaos.proxy.faults import Fault, Trigger
from paidonce.devstack import detour
from paidonce.devstack.kafka import start_kafka
from paidonce.devstack.runs import Run
from paidonce.devstack.valkey import Valkey


@pytest.fixture(scope="module")
def proxies() -> Iterator[Proxies]:
    with Proxies() as started:
        yield started


@pytest.fixture
def name(proxies: Proxies, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a link of this test's own; what it armed is healed."""
    yield f"postgres {request.node.name}"
    proxies.heal()


@pytest.fixture
def led(proxies: Proxies, database: str, name: str) -> str:
    """The DSN of the fresh database, through the link."""
    return detour.url(proxies.detour, name, database)


def rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT count(*) FROM made").fetchone()
    assert found is not None
    return int(found[0])


@pytest.fixture
def made(database: str) -> str:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE made (number int)")
    return database


def test_the_nth_commit_is_done_and_its_answer_is_lost(proxies: Proxies, name: str, led: str, made: str) -> None:
    on = Trigger(event="commit", nth=2, match="INSERT INTO made")
    number = proxies.arm(Fault(link=name, kind="reset", on=on))
    for insert in range(2):
        with psycopg.connect(led) as connection:
            connection.execute("SELECT 1")
            connection.commit()
            connection.execute("INSERT INTO made VALUES (%s)", [insert])
            if insert == 0:
                connection.commit()
                continue
            with pytest.raises(psycopg.OperationalError):
                connection.commit()
    assert rows(made) == 2
    (firing,) = proxies.fired(number)
    assert "INSERT INTO made" in firing.subject


@pytest.mark.parametrize("prepared", [None, 0], ids=["parsed each time", "prepared"])
def test_a_statement_that_commits_by_itself_is_done_and_its_answer_is_lost(
    proxies: Proxies, name: str, led: str, made: str, prepared: int | None
) -> None:
    number = proxies.arm(
        Fault(link=name, kind="reset", on=Trigger(event="autocommit", nth=3, match="INSERT INTO made"))
    )
    with psycopg.connect(led, autocommit=True, prepare_threshold=prepared) as connection:
        for insert in range(2):
            connection.execute("INSERT INTO made VALUES (%s)", [insert])
            connection.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("INSERT INTO made VALUES (%s)", [2])
    assert rows(made) == 3
    assert len(proxies.fired(number)) == 1


def test_a_pipeline_is_found_at_its_sync(proxies: Proxies, name: str, led: str, made: str) -> None:
    number = proxies.arm(Fault(link=name, kind="reset", on=Trigger(event="autocommit", match="INSERT INTO made")))
    with pytest.raises(psycopg.OperationalError):
        _insert_in_a_pipeline(led)
    assert rows(made) == 3
    assert proxies.fired(number)[0].subject.count("INSERT") == 3


def _insert_in_a_pipeline(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection, connection.pipeline():
        for insert in range(3):
            connection.execute("INSERT INTO made VALUES (%s)", [insert])


@pytest.mark.parametrize("extended", [False, True])
def test_a_statement_after_copies_is_found(proxies: Proxies, name: str, led: str, made: str, extended: bool) -> None:
    number = proxies.arm(Fault(link=name, kind="reset", on=Trigger(event="autocommit", match="UPDATE made")))
    with psycopg.connect(led, autocommit=True) as connection:
        server, begin = connection.pgconn, b"COPY made FROM STDIN"
        assert (server.exec_params(begin, None) if extended else server.exec_(begin)).status == ExecStatus.COPY_IN
        for insert in range(2000):
            server.put_copy_data(b"%d\n" % insert)
        server.put_copy_end()
        while server.get_result():
            pass
        with connection.cursor() as cursor, cursor.copy("COPY made TO STDOUT") as copy:
            assert len(list(copy.rows())) == 2000
        with pytest.raises(psycopg.OperationalError):
            connection.execute("UPDATE made SET number = number + 1")
    assert len(proxies.fired(number)) == 1
    assert proxies.links()[name]["blind"] == []


def test_tls_is_passed_on_unseen(proxies: Proxies, name: str, led: str) -> None:
    """This server has none: it says so, and the client goes on in the clear."""
    with psycopg.connect(led, sslmode="prefer", gssencmode="prefer") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert proxies.links()[name]["blind"] == []


def test_the_nth_command_of_valkey_is_done_and_its_answer_is_lost(proxies: Proxies, valkey: Valkey) -> None:
    url = detour.url(proxies.detour, "valkey", valkey.url)
    on = Trigger(event="SET", nth=2, match="made:")
    proxies.arm(Fault(link="valkey", kind="reset", on=on))
    with Client.from_url(url, retry=None) as client:
        client.set("other", 1)
        client.set("made:1", 1)
        with pytest.raises(ValkeyConnectionError):
            client.set("made:2", 1)
    with Client.from_url(valkey.url) as direct:
        assert direct.get("made:2") == b"1"
        assert urlsplit(url).port != urlsplit(valkey.url).port


@pytest.fixture(scope="module")
def kafkas(proxies: Proxies) -> Iterator[tuple[str, str]]:
    """A broker of our own: its direct address, and the one by the detour."""
    with Run() as run:
        kafka = start_kafka(run, detour=proxies.detour)
        yield kafka.bootstrap, kafka.led


@pytest.fixture
def place(kafkas: tuple[str, str], topic: str) -> TopicPartition:
    """The one partition of a topic of the test's own."""
    admin = KafkaAdminClient(bootstrap_servers=kafkas[0])
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    return TopicPartition(topic, 0)


def committed(bootstrap: str, place: TopicPartition) -> list[bytes]:
    """What `read_committed` readers get, up to the record `end`."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        consumer_timeout_ms=20_000,
        auto_offset_reset="earliest",
    )
    consumer.assign([place])
    found = list(takewhile(lambda value: value != b"end", (record.value for record in consumer)))
    consumer.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reset", "stall"])
@pytest.mark.parametrize("event", ["EndTxn", "Produce", "AddPartitionsToTxn"])
def test_the_nth_request_of_kafka_is_done_and_its_answer_is_lost(
    proxies: Proxies, kafkas: tuple[str, str], place: TopicPartition, event: str, how: Any
) -> None:
    """The client asks again, and what was asked counts once."""
    on = Trigger(event=event, nth=2, match=place.topic)
    number = proxies.arm(Fault(link="kafka-1", kind=how, on=on, for_s=1.0 if how == "stall" else None))
    producer = KafkaProducer(
        bootstrap_servers=kafkas[1],
        client_id=place.topic,
        transactional_id=place.topic,
        enable_idempotence=True,
        retry_backoff_ms=2,
    )
    producer.init_transactions()
    for value in (b"one", b"two", b"end"):
        producer.begin_transaction()
        producer.send(place.topic, value)
        producer.commit_transaction()
    producer.close()
    (firing,) = proxies.fired(number)
    assert firing.event == f"{event} answer"
    assert committed(kafkas[0], place) == [b"one", b"two"]
    assert proxies.links()["kafka-1"]["blind"] == []


@pytest.mark.slow
def test_whoever_comes_by_the_detour_stays_on_it(kafkas: tuple[str, str]) -> None:
    for bootstrap in kafkas:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        (broker,) = admin.describe_cluster()["brokers"]
        admin.close()
        assert f"{broker['host']}:{broker['port']}" == bootstrap
