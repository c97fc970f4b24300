"""How can it end? It is done, it was refused, or nobody knows yet: that is no failure, and must never become one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ok:
    """It is done, now or by an earlier attempt."""

    #: the resource as it was when it was done
    document: Mapping[str, Any]
    #: its version, for If-Match
    etag: str | None = None
    #: whether the answer is that of an earlier attempt
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not done, and will not be."""

    status: int
    #: the problem's stable code
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No clear answer came. What was wanted may have happened: only the same request under the same key tells."""

    reason: str


Outcome = Ok | Refused | Unknown
