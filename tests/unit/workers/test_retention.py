"""S15: the inbox must outlast everything that can send a message again."""

from datetime import timedelta

import pytest

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings
from paidonce.workers import retention


def test_the_defaults_are_enough() -> None:
    retention.check(Settings())


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


def test_the_topics_own_times_count_where_they_are_known() -> None:
    retention.check(Settings(topic_retention_d=30), topic=timedelta(days=7), segment=timedelta(days=1))
    with pytest.raises(ConfigurationError, match=r"topic \(retention.ms\) 30 days"):
        retention.check(Settings(), topic=timedelta(days=30), segment=timedelta(days=1))
