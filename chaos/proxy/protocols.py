"""Which protocols does the proxy read, and what events has each?

`connect` is an event of every one: a connection was made, and nothing said yet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import contains
from typing import Protocol

from paidonce.chaos.proxy.finders import http, kafka, postgres, resp
from paidonce.chaos.proxy.reading import Need, Parser, Side

CONNECT, ANY = "connect", "*"


class Finder(Protocol):
    """What is known of one connection, read from both directions at once."""

    def requests(self) -> Parser:
        """Read what the client says."""

    def answers(self) -> Parser:
        """Read what the server says."""


class Bytes:
    """A protocol that nobody reads."""

    def requests(self) -> Parser:
        """Read nothing."""
        return
        yield Need(0)

    answers = requests


@dataclass(frozen=True, slots=True)
class Spoken:
    """One protocol."""

    finder: Callable[[], Finder]
    #: its events with their sides; None: any name, on both
    events: frozenset[tuple[str, Side]] | None
    #: whether an event's subject fits a fault's `match`
    fits: Callable[[str, str], bool] = contains


PROTOCOLS = {
    "bytes": Spoken(Bytes, frozenset()),
    "http": Spoken(http.Http, http.EVENTS, str.startswith),
    "kafka": Spoken(kafka.Kafka, kafka.EVENTS),
    "postgres": Spoken(postgres.Postgres, postgres.EVENTS),
    "resp": Spoken(resp.Resp, None),
}


def check_event(protocol: str, name: str, side: Side) -> None:
    """Raise ValueError for an event that the protocol never has."""
    events = PROTOCOLS[protocol].events
    if name == CONNECT and side == "request":
        return
    if events is not None and name != ANY and (name, side) not in events:
        known = ", ".join(sorted(f"{one} ({at})" for one, at in events)) or "none"
        raise ValueError(f"{protocol} has no event {name} ({side}): there is connect (request), and {known}")
