"""What may a handler answer? Three verbs, and nothing else ends a message's processing."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """The work is in the handler's transaction."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Not yet: park the message, and with it every later message of its key."""

    delay: timedelta
    reason: str


@dataclass(frozen=True, slots=True)
class Poison:
    """Never: put the message into the dead letters, whole."""

    reason: str


Outcome = Done | RetryLater | Poison
