"""Which consumer reads which topic? Everybody who has ever held a partition, with handlers of ours or of yours."""

from collections import defaultdict

from sqlalchemy import Connection

from paidonce.app.messaging import readers, starts
from paidonce.app.settings import Settings
from paidonce.workers.consumer import SUBSCRIBERS


def topics_read(tx: Connection, settings: Settings) -> dict[str, str]:
    """Return consumer -> topic; ours read the one of the settings, whatever it was called before."""
    ever = readers.topics(tx, settings.topic) | starts.topics(tx, settings.topic)
    return {name: topic for name, topic in ever.items() if name not in SUBSCRIBERS or topic == settings.topic}


def by_topic(topics: dict[str, str]) -> dict[str, list[str]]:
    """Return topic -> its consumers."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, topic in sorted(topics.items()):
        found[topic].append(name)
    return dict(found)
