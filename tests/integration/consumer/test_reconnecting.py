"""Is a consumer back soon after its broker? Its client waits between connections no longer than our others do."""

from paidonce.app.settings import Settings
from paidonce.workers.broker import RECONNECT_MOST_MS
from paidonce.workers.broker_consumer import Source


def test_it_waits_no_longer_between_connections_than_our_other_clients(settings: Settings) -> None:
    source = Source(settings, group="reconnecting", topic=settings.topic, give_back=lambda _: None)
    try:
        # An outage long enough to see the client's own half a minute would make a test of minutes.
        source._consumer = source._connect()
        assert source._consumer.config["reconnect_backoff_max_ms"] == RECONNECT_MOST_MS
    finally:
        source.close()
