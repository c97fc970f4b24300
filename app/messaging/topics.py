"""On which topic are the events about something? Payments on the installation's own, all else on one by its name."""

import re

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings

#: What the events are about that Paidonce itself writes and reads.
PAYMENT = "payment"

#: Of your own: a word that makes a topic's name, which has up to 249 characters.
ABOUT = re.compile(r"[a-z][a-z0-9_-]{0,99}")
TYPE = re.compile(rf"{ABOUT.pattern}(?:\.[a-z0-9_-]{{1,100}})+")


def topic_of(settings: Settings, about: str) -> str:
    """Return the topic of events about `about`: `payment` goes to the one of the settings, `order` to `orders`."""
    return settings.topic if about == PAYMENT else settings.own_topics.format(about)


def about_of(settings: Settings, topic: str) -> str:
    """Return what the events on `topic` are about."""
    if topic == settings.topic:
        return PAYMENT
    before, _, after = settings.own_topics.partition("{}")
    return topic.removeprefix(before).removesuffix(after)


def about_of_type(type_: str) -> str:
    """Return what an event of this type is about: `order` for `order.placed`.

    Raises:
        ConfigurationError: it is no event type.
    """
    if not TYPE.fullmatch(type_):
        raise ConfigurationError(
            f"{type_!r} is no event type: what it is about, a dot and what happened, in small letters, as order.placed"
        )
    return type_.partition(".")[0]
