"""Where on Kafka does an event go? Topic by what it is about, partition by its key.

The partition is computed here, modulo a count that was fixed when the topic was first used: the
clients' own partitioners differ, and a topic that grew would break the order of its keys
(docs/design.md, "Relay").
"""

from collections.abc import Collection

from sqlalchemy import Engine

from paidonce.app.messaging import envelope
from paidonce.app.settings import Settings
from paidonce.workers.broker_admin import Topic, Topics
from paidonce.workers.broker_producer import Record, partition_of
from paidonce.workers.relay_session import fix
from paidonce.workers.windows import Stored


class Routes:
    """The topics that are in use, with their ids and partition counts as they were last seen."""

    def __init__(self, settings: Settings, bind: Engine) -> None:
        self._settings = settings
        self._bind = bind
        self._known: dict[str, Topic] = {}

    @property
    def ids(self) -> dict[str, str]:
        """The id of each topic."""
        return {name: topic.id for name, topic in self._known.items()}

    def topic_of(self, aggregatetype: str) -> str:
        """Return the topic of events about `aggregatetype`: `payment` goes to `payments`."""
        return self._settings.topic if aggregatetype == "payment" else f"{aggregatetype}s"

    def learn(self, names: Collection[str]) -> None:
        """Look at topics, and make those that are missing.

        Raises:
            ConfigurationError: one has another partition count than when it was first used.
            BrokerAwayError: Kafka did not answer.
        """
        with Topics(self._settings) as topics:
            found = topics.ensure(names)
        fix(self._bind, {f"partitions:{topic.name}": str(topic.partitions) for topic in found.values()})
        self._known |= found

    def missing(self, events: Collection[Stored]) -> set[str]:
        """Return the topics of `events` that nobody has looked at yet."""
        return {self.topic_of(stored.event.aggregatetype) for stored in events} - self._known.keys()

    def record(self, stored: Stored) -> Record:
        """Return the event as Kafka takes it."""
        topic = self._known[self.topic_of(stored.event.aggregatetype)]
        key = stored.event.aggregateid.encode()
        return Record(
            topic.name,
            partition_of(key, topic.partitions),
            key,
            stored.event.payload,
            envelope.encode(stored.event, stored.created_at),
        )
