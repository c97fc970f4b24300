"""Who may speak with Kafka, and what is a client told that may not? A real broker, with both producer clients."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from paidonce.app import log
from paidonce.app.clock import new_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers.broker import BrokerAwayError
from paidonce.workers.broker_admin import Topics
from paidonce.workers.broker_consumer import Source
from paidonce.workers.broker_lag import lags
from paidonce.workers.broker_marks import Mark, Marks
from paidonce.workers.broker_open import OpenTransactions
from paidonce.workers.broker_producer import Publisher, Record
from paidonce.workers.broker_topic import keeps

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

CLIENTS = ("kafka-python", "librdkafka")
#: By what each setting of a connection is replaced; None: as it should be.
IN_THE_CLEAR: dict[str, Any] = {
    "kafka_security_protocol": "PLAINTEXT",
    "kafka_ca": None,
    "kafka_user": "",
    "kafka_password": "",
}


@pytest.fixture
def said(encrypted: Any) -> Iterator[io.BytesIO]:
    """What a process would log."""
    lines = io.BytesIO()
    log.configure("test", "DEBUG", lines)
    yield lines
    assert encrypted.password.encode() not in lines.getvalue()
    assert encrypted.other_password.encode() not in lines.getvalue()


def settings(encrypted: Any, client: str = "kafka-python", **more: Any) -> Settings:
    name = f"t-{uuid4().hex[:8]}"
    given = encrypted.settings | {"topic": name, "relay_name": f"relay-{name}", "kafka_client": client}
    return Settings(**given | {"relay_lease_s": 3.0, "consumer_session_s": 2.0} | more)


def mutual(encrypted: Any) -> dict[str, Any]:
    return IN_THE_CLEAR | {
        "kafka": encrypted.mutual,
        "kafka_security_protocol": "SSL",
        "kafka_ca": encrypted.ca,
        "kafka_certificate": encrypted.certificate,
        "kafka_key": encrypted.key,
    }


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("way", ["SCRAM-SHA-512", "PLAIN", "certificate"])
def test_every_client_of_ours_comes_through(encrypted: Any, client: str, way: str, said: io.BytesIO) -> None:
    how = mutual(encrypted) if way == "certificate" else {"kafka_sasl_mechanism": way}
    ours = settings(encrypted, client, **how)
    with Topics(ours) as topics:
        topics.ensure([ours.topic])
        topics.ensure_relay_topic(1)
    publisher = Publisher(ours, 0)
    publisher.fence()
    publisher.publish([Record(ours.topic, 0, b"k", b"v", [("message-id", b"m")])], Mark(1, new_id()))
    publisher.close()
    marks = Marks(ours)
    found = marks.read(0)
    marks.close()
    assert found is not None
    assert found.number == 1
    with OpenTransactions(ours) as transactions:
        assert transactions.find(0, [ours.topic]) == []
    assert keeps(ours, ours.topic) is not None
    source = Source(ours, group=ours.topic, topic=ours.topic, give_back=lambda _partitions: None)
    source.subscribe()
    records = next(filter(None, (source.poll(0.2) for _ in range(100))))
    assert [record.value for record in records[:1]] == [b"v"]
    source.commit_offsets({0: records[0].offset + 1})
    source.close()
    assert lags(ours, ours.topic, [ours.topic])[ours.topic] in {0, 1}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "password": ({"kafka_password": "other"}, "PAIDONCE_KAFKA_PASSWORD"),
    "mechanism": ({"kafka_sasl_mechanism": "SCRAM-SHA-256"}, "PAIDONCE_KAFKA_SASL_MECHANISM"),
    "in the clear": (IN_THE_CLEAR, "speaks TLS, and we do not: set PAIDONCE_KAFKA_SECURITY_PROTOCOL"),
    "no user": (
        IN_THE_CLEAR | {"kafka_security_protocol": "SSL", "kafka_ca": "ca"},
        "if it wants a user, set PAIDONCE_KAFKA_SECURITY_PROTOCOL",
    ),
    "foreign authority": ({"kafka_ca": "foreign"}, "name who signed it in PAIDONCE_KAFKA_CA"),
    "another name": ({"kafka": "localhost"}, "certificate is not valid for 'localhost'"),
    "no certificate": (
        IN_THE_CLEAR | {"kafka": "mutual", "kafka_security_protocol": "SSL", "kafka_ca": "ca"},
        "set PAIDONCE_KAFKA_CERTIFICATE",
    ),
    "no file": ({"kafka_ca": Path("/nonexistent")}, "PAIDONCE_KAFKA_CA names a file that cannot be used"),
    "no PEM": ({"kafka_ca": Path("/etc/passwd")}, "PAIDONCE_KAFKA_CA names a file that cannot be used"),
}


def wrong(encrypted: Any, case: str) -> dict[str, Any]:
    places = {
        "ca": encrypted.ca,
        "other": encrypted.other_password,
        "foreign": encrypted.foreign,
        "mutual": encrypted.mutual,
        "localhost": encrypted.sasl.replace("127.0.0.1", "localhost"),
    }
    return {name: places.get(value, value) for name, value in WRONG[case][0].items()}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.usefixtures("said")
def test_whoever_is_refused_is_told_what_to_do_and_leaves_nothing(encrypted: Any, case: str) -> None:
    before = threading.active_count()
    with pytest.raises((BrokerAwayError, ConfigurationError)) as raised:
        Topics(settings(encrypted, **wrong(encrypted, case)))
    assert WRONG[case][1] in str(raised.value)
    assert encrypted.password not in repr(raised.value)
    assert threading.active_count() == before


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.usefixtures("said")
def test_so_is_who_uses_librdkafka(encrypted: Any, case: str) -> None:
    with pytest.raises((BrokerAwayError, ConfigurationError)) as raised:
        Publisher(settings(encrypted, "librdkafka", **wrong(encrypted, case)), 0).fence()
    assert WRONG[case][1] in str(raised.value)
    assert encrypted.password not in repr(raised.value)


def test_a_client_with_tls_is_told_that_the_broker_has_none(encrypted: Any, kafka: Any) -> None:
    with pytest.raises(BrokerAwayError, match="does not speak TLS there"):
        Topics(settings(encrypted, kafka=kafka.bootstrap))
