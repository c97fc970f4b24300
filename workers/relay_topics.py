"""Where on Kafka does an event go? Topic by what it is about, partition by its key.

The partition is computed here, modulo a count that was fixed when the topic was first used: the
clients' own partitioners differ, and a topic that grew would break the order of its keys
(docs/design.md, "Relay").
"""

from collections.abc import Collection, Iterable, Sequence

import orjson
from sqlalchemy import Engine

from paidonce.app import installation
from paidonce.app.messaging.envelope import headers_of
from paidonce.app.messaging.topics import topic_of
from paidonce.app.settings import Settings
from paidonce.workers.broker_admin import Topic, Topics
from paidonce.workers.broker_producer import Record
from paidonce.workers.murmur2 import POSITIVE, hashes
from paidonce.workers.relay_session import fix
from paidonce.workers.stored import Stored

#: Under this and the topic's name the installation keeps its partition count.
PARTITIONS = "partitions:"


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
        return topic_of(self._settings, aggregatetype)

    def learn(self, names: Collection[str]) -> None:
        """Look at topics, and make those that are missing.

        Raises:
            ConfigurationError: one has another partition count than when it was first used.
            BrokerAwayError: Kafka did not answer.
        """
        with Topics(self._settings) as topics:
            found = topics.ensure(names)
        fix(self._bind, {f"{PARTITIONS}{topic.name}": str(topic.partitions) for topic in found.values()})
        self._known |= found

    def used(self) -> set[str]:
        """Return every topic that this installation has ever used."""
        with self._bind.connect() as tx:
            return {*installation.names(tx, PARTITIONS), self._settings.topic}

    def missing(self, events: Iterable[Stored]) -> set[str]:
        """Return the topics of `events` that nobody has looked at yet."""
        return {self.topic_of(kind) for kind in {stored.aggregatetype for stored in events}} - self._known.keys()

    def records(self, events: Sequence[Stored]) -> list[Record]:
        """Return the events as Kafka takes them; their topics are known."""
        keys = [stored.aggregateid.encode() for stored in events]
        topics = {kind: self._known[self.topic_of(kind)] for kind in {stored.aggregatetype for stored in events}}
        # Stored's fields by position: here each name that is looked up counts 100,000 times a second.
        return [
            Record(
                topics[kind].name,
                (hash_ & POSITIVE) % topics[kind].partitions,
                key,
                payload,
                headers_of(id_.encode(), type_, key, time[1:-1].encode(), sequence=sequence, more=orjson.loads(more)),
            )
            for (_, id_, kind, _, type_, sequence, payload, more, time, _), key, hash_ in zip(
                events, keys, hashes(keys), strict=True
            )
        ]
