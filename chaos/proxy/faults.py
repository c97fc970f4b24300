"""What can be done to a link, from which event on, and what is noted of it?

| kind | what happens | to be heard of by |
|---|---|---|
| reset | both sides get a TCP reset | both, at once |
| half_open | the `gone` side gets a reset, the other's bytes vanish | one; the other at the healing |
| stall | bytes wait and connections stay; healing lets them go on | nobody |
| swallow | bytes are taken and vanish; healing resets what lost some | nobody |
| cut_after | so many bytes more, then a reset | both |
| rate, delay | bytes go on slowly; or that much later, 64 KB at a time | nobody |

A fault begins right before the bytes of its event go on: at an `answer` the server has done its work, which
nobody is told; at a `request` it has certainly not. Silence is that of a peer's process, not of a cable: the
kernel here goes on acknowledging packets, so TCP's own time limits do not notice.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from paidonce.chaos.proxy.reading import SIDES, Side

Kind = Literal["reset", "half_open", "stall", "swallow", "cut_after", "rate", "delay"]
Direction = Literal["both", "to_server", "to_client"]
#: What becomes of connections that are made while a fault of the whole link lasts.
New = Literal["same", "refused", "hanging"]

#: For each kind, the fields that it needs, which no other may have.
_NEEDS = {"cut_after": "after_bytes", "rate": "bytes_per_s", "delay": "delay_s"}
_NEW: dict[Kind, New] = {"reset": "refused", "half_open": "hanging", "stall": "hanging", "swallow": "hanging"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The event at which a fault begins."""

    #: as the link's protocol names it; `*` is any, `connect` a new connection
    event: str
    at: Side = "answer"
    #: the how manyth, counted over the link's connections from the arming on
    nth: int = 1
    #: only events whose subject has this in it; over HTTP: whose target begins so
    match: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is to be done to a link."""

    link: str
    kind: Kind
    #: None: at once
    on: Trigger | None = None
    #: to how many events from the n-th on; 0: to every one
    times: int = 1
    direction: Direction = "both"
    #: the connection on which the event happened (without one: all that there are), or the whole link, new ones too
    scope: Literal["connection", "link"] = "connection"
    #: for new connections, where the scope is the link; None: refused after a reset, hanging after a silence
    new: New | None = None
    #: seconds until it heals by itself; None: when it is told to
    for_s: float | None = None
    gone: Literal["server", "client"] = "server"
    after_bytes: int = 0
    bytes_per_s: int = 0
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; raises ValueError."""
        if self.kind not in get_args(Kind):
            raise ValueError(f"there is no fault {self.kind!r}: it is one of {', '.join(get_args(Kind))}")
        if self.direction not in get_args(Direction) or (self.on and self.on.at not in SIDES):
            raise ValueError(f"a direction is one of {get_args(Direction)}, the side of an event one of {SIDES}")
        for kind, name in _NEEDS.items():
            if (getattr(self, name) > 0) != (self.kind == kind):
                raise ValueError(f"{name} goes with {kind}, and {kind} with it")
        if self.kind in {"reset", "half_open"} and self.direction != "both":
            raise ValueError(f"{self.kind} has no direction" + (": say who is `gone`" if "half" in self.kind else ""))
        if (self.on.nth if self.on else 1) < 1 or self.times < 0:
            raise ValueError("events are counted from 1 on")

    @property
    def for_new(self) -> New:
        """What becomes of new connections while it lasts."""
        if self.scope == "connection":
            return "same"
        return self.new or _NEW.get(self.kind, "same")

    @property
    def once(self) -> bool:
        """Whether nothing of it lasts, so that there is nothing to heal."""
        return self.kind == "reset" and self.scope == "connection"


def fault(said: dict[str, Any]) -> Fault:
    """Return the fault that a JSON object describes; raises ValueError or TypeError."""
    on = said.get("on")
    return Fault(**{**said, "on": Trigger(**on) if on else None})


@dataclass(slots=True, kw_only=True)
class Firing:
    """What really happened, once."""

    #: the number that the fault was given when it was armed
    fault: int
    link: str
    kind: str
    #: seconds since 1970
    at: float
    event: str = ""
    subject: str = ""
    #: the connections that it struck then, numbered per link from 1 on
    connections: list[int] = field(default_factory=list)
    #: bytes that had gone on over the event's connection (without one: over all of them) when it struck
    to_server_bytes: int = 0
    to_client_bytes: int = 0
    #: connections that were made later and met it
    met: int = 0
    healed_at: float | None = None
