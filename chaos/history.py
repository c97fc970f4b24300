"""What did the clients send, and what did they see? Append-only JSON lines, each operation twice.

`invoke` is written before the request is sent; afterwards comes `ok`, `fail` (certainly not
done) or `info` (nobody knows). So an operation that was cut off at any moment is honestly
unknown, and never forgotten (docs/design.md, "The fault rig").
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from types import TracebackType
from typing import Any, Literal, Self

import orjson

Outcome = Literal["ok", "fail", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One HTTP request of a client, with the answer as the client saw it."""

    #: counts from 0 in one history
    number: int
    #: create, mismatch, replay, cancel, refund, read, …: what the client wanted with it
    kind: str
    tenant: str
    #: the client's own name for what it pays or refunds; one subject, one Idempotency-Key
    subject: str
    method: str
    path: str
    #: the address of the API replica that was asked
    api: str
    key: str | None = None
    #: the JSON body that was sent
    request: Mapping[str, Any] = field(default_factory=dict)
    #: seconds since 1970
    began: float
    ended: float | None = None
    outcome: Outcome = "info"
    status: int | None = None
    #: the body as text, and the SHA-256 of its bytes in hex
    body: str = ""
    sha256: str = ""
    #: the headers of the answer that a replay has to repeat, and those that say that it is one
    headers: Mapping[str, str] = field(default_factory=dict)
    #: what went wrong on the way, when there was no answer
    error: str | None = None

    @property
    def replayed(self) -> bool:
        """Whether the API said that it repeated a stored answer."""
        return self.headers.get("idempotent-replayed") == "true"

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none."""
        try:
            found = orjson.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def code(self) -> str:
        """The stable code of a problem document; empty without one."""
        return str(self.document.get("code", "")) if self.outcome != "ok" else ""

    def told(self) -> str:
        """Say in one line what was asked and answered, as evidence."""
        said = f"{self.status} {self.code}".strip() if self.status else f"no answer ({self.error or 'cut off'})"
        replayed = ", replayed" if self.replayed else ""
        return f"#{self.number} {self.kind} {self.method} {self.path} key {self.key or 'none'}: {said}{replayed}"


class Recorder:
    """Writes one history; every line is with the operating system before the call returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def invoke(self, **what: Any) -> int:
        """Write that an operation is about to be sent; returns its number."""
        number, self._next = self._next, self._next + 1
        self._write({"type": "invoke", "number": number, "at": time(), **what})
        return number

    def answered(self, number: int, outcome: Outcome, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Write the answer of operation `number`."""
        self._write(
            {
                "type": outcome,
                "number": number,
                "at": time(),
                "status": status,
                "body": body.decode(errors="replace"),
                "sha256": hashlib.sha256(body).hexdigest(),
                "headers": dict(headers),
            }
        )

    def unanswered(self, number: int, error: str) -> None:
        """Write that operation `number` got no answer: nobody knows whether it was done."""
        self._write({"type": "info", "number": number, "at": time(), "error": error})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(orjson.dumps(line) + b"\n")


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a JSON-lines file; a last line that a kill cut off is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield orjson.loads(line)


def operations(path: Path) -> list[Operation]:
    """Return every operation of a history, by number; one without an end is `info`."""
    merged: dict[int, dict[str, Any]] = {}
    for line in lines(path):
        type_, at, number = line.pop("type"), line.pop("at"), line["number"]
        if type_ == "invoke":
            merged[number] = {**line, "began": at}
        else:
            merged[number] |= {**line, "ended": at, "outcome": type_}
    return [Operation(**merged[number]) for number in sorted(merged)]
