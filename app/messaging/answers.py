"""What can a call to the outside answer? Every kind of effect speaks these, and the worker decides by them.

The rule of what each means for an effect's state is in docs/design.md, "Effects".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Succeeded:
    """It was done, definitely: a charge captured, a refund succeeded, a webhook taken."""

    #: the other side's object, empty for a webhook
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """It was tried and refused, definitely: the other side keeps an object that says so."""

    code: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rejected:
    """This request was turned away with an enumerated 4xx. It says nothing of an earlier, open attempt."""

    code: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """Certainly not done: no connection was made, the breaker is open, or the lease was too short to begin."""

    reason: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: this request had no effect; the other side says when to come back."""

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nobody knows: a time-out, a reset, a 5xx, the same key still running."""

    reason: str
    #: the other side says so to our key for as long as it keeps it, so only a look-up can tell more
    stored: bool = False


@dataclass(frozen=True, slots=True)
class NotFound:
    """A look-up found nothing under our reference (yet)."""


Answer = Succeeded | Refused | Rejected | NotSent | Throttled | NoAnswer
Finding = Succeeded | Refused | NotFound | NotSent | NoAnswer
