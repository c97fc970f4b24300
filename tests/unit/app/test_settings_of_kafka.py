"""Is a way to Kafka taken as it is meant, or refused? Nothing that is set may be left unused in the clear."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from paidonce.app.settings import Settings
from paidonce.workers.broker_security import of_kafka_python, of_librdkafka

USER = {"kafka_user": "u", "kafka_password": "kafka-secret"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_security_protocol": "SSL", "kafka_certificate": "c.pem"}, "PAIDONCE_KAFKA_KEY"),
        ({"kafka_ca": "ca.pem"}, "set SSL or SASL_SSL"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ca": "ca.pem", **USER}, "set SSL or SASL_SSL"),
        ({"kafka_security_protocol": "SASL_SSL"}, "needs PAIDONCE_KAFKA_USER and PAIDONCE_KAFKA_PASSWORD"),
        ({"kafka_security_protocol": "SASL_SSL", "kafka_user": "u"}, "needs PAIDONCE_KAFKA_USER"),
        ({"kafka_security_protocol": "SSL", **USER}, "set SASL_SSL"),
        (USER, "set SASL_SSL"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN", **USER}, "in the clear"),
    ],
)
def test_what_would_not_be_used_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)) as raised:
        Settings(**given)
    assert "kafka-secret" not in str(raised.value)


def test_both_libraries_are_told_the_same() -> None:
    settings = Settings(kafka="a:1,b:2", kafka_security_protocol="SASL_SSL", **USER)
    one, other = of_kafka_python(settings), of_librdkafka(settings)
    assert one.pop("bootstrap_servers") == ["a:1", "b:2"]
    assert one.pop("ssl_context").check_hostname
    assert one == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "kafka-secret",
    }
    other.pop("ssl.ca.location", None)
    assert other == {
        "bootstrap.servers": "a:1,b:2",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "u",
        "sasl.password": "kafka-secret",
    }


def test_without_a_word_nothing_has_changed() -> None:
    assert of_kafka_python(Settings()) == {"bootstrap_servers": ["127.0.0.1:9092"], "security_protocol": "PLAINTEXT"}
