"""S15: the inbox must outlast everything that can send a message again."""

from datetime import timedelta

import pytest

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers import broker_topic, doctor_checks, retention
from paidonce.workers.broker_topic import Keeps

#: A topic's settings that change nothing, as Kafka tells them.
PLAIN = {"retention.ms": "604800000", "segment.ms": "86400000", "cleanup.policy": "delete", "retention.bytes": "1"}


def test_the_defaults_are_enough() -> None:
    retention.check(Settings())
    retention.check_keys(Settings())


@pytest.mark.parametrize(
    "changed",
    [
        {"inbox_retention_d": 29, "clock_skew_s": 0},
        {"inbox_retention_d": 29},
        {"outbox_retention_d": 13},
        {"topic_retention_d": 13},
        {"topic_segment_d": 7},
        {"redrive_horizon_d": 20},
        {"clock_skew_s": 6 * 86_400},
    ],
    ids=str,
)
def test_less_or_just_as_long_is_refused(changed) -> None:
    with pytest.raises(ConfigurationError, match="PAIDONCE_INBOX_RETENTION_D"):
        retention.check(Settings(**changed))


def test_just_longer_is_taken() -> None:
    retention.check(Settings(inbox_retention_d=30, clock_skew_s=86_399))


def test_the_topics_own_times_count_where_they_are_known() -> None:
    retention.check(Settings(topic_retention_d=30), Keeps(timedelta(days=7), timedelta(days=1)))
    with pytest.raises(ConfigurationError, match=r"topic \(retention.ms\) 30 days"):
        retention.check(Settings(), Keeps(timedelta(days=30), timedelta(days=1)))
    with pytest.raises(ConfigurationError, match=r"segment \(segment.ms\) 14 days"):
        retention.check(Settings(), Keeps(timedelta(days=7), timedelta(days=14)))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"retention.ms": "-1"}, "retention.ms=-1"),
        ({"cleanup.policy": "compact"}, "cleanup.policy=compact"),
        ({"cleanup.policy": "compact,delete"}, "cleanup.policy=compact,delete"),
    ],
)
def test_a_topic_that_keeps_records_for_ever_is_refused(changed: dict[str, str], why: str) -> None:
    found = broker_topic.read(PLAIN | changed)
    with pytest.raises(ConfigurationError, match=rf"for ever \({why}\).*retention.ms, 604800000 for 7 days"):
        retention.check(Settings(), found)


def test_how_long_a_bounded_topic_keeps_its_records() -> None:
    assert broker_topic.read(PLAIN) == Keeps(timedelta(days=7), timedelta(days=1))
    assert broker_topic.read(PLAIN | {"retention.bytes": "-1", "message.timestamp.type": "LogAppendTime"}) == Keeps(
        timedelta(days=7), timedelta(days=1)
    )
    assert broker_topic.read(PLAIN | {"retention.ms": str(2**63 - 1)}).retention > timedelta(days=36_000)


def test_a_key_outlasts_its_clients_retries() -> None:
    retention.check_keys(Settings(idempotency_money_retention_h=25, client_retry_horizon_h=24))
    with pytest.raises(ConfigurationError, match=r"72 hours .* repeat a request for 72"):
        retention.check_keys(Settings(client_retry_horizon_h=72))
    with pytest.raises(ConfigurationError, match="PAIDONCE_CLIENT_RETRY_HORIZON_H"):
        doctor_checks.times(Settings(client_retry_horizon_h=72))
