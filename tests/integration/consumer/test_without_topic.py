"""What does a consumer say that starts before its topic is there? Always the same, whenever Kafka's answer comes."""

import pytest

from paidonce.app.settings import Settings
from paidonce.workers.broker_consumer import Source, TopicMissingError

#: Tries. Of ten about one meets the subscription's own question, which is answered on the client's thread, under way.
TRIES = 60


@pytest.mark.slow
def test_a_topic_that_is_missing_is_told_as_missing(settings: Settings) -> None:
    source = Source(settings, group="early", topic="not-there-yet", give_back=lambda _: None)
    try:
        for _ in range(TRIES):
            with pytest.raises(TopicMissingError):
                source.subscribe()
    finally:
        source.close()
