"""What became of each fault? JSON lines, appended the moment it happens: planned, fired or missed, healed, back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from time import time
from typing import Any

import orjson

from paidonce.chaos.facts import Fault
from paidonce.chaos.history import lines
from paidonce.chaos.schedule import Planned


class FaultLog:
    """Writes one log, from several threads; every line is with the operating system before the call returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._one = Lock()

    def planned(self, faults: Sequence[Planned]) -> None:
        """Note what shall happen."""
        for fault in faults:
            self._write(fault.number, "planned", asdict(fault))

    def fired(self, number: int, saw: str, *, at: float | None = None) -> None:
        """Note that a fault was seen to work, and what was seen; `at` in seconds since 1970, now by default."""
        self._write(number, "fired", {"saw": saw}, at)

    def missed(self, number: int, why: str) -> None:
        """Note that a fault did not happen."""
        self._write(number, "missed", {"saw": why})

    def healed(self, number: int, *, at: float | None = None) -> None:
        """Note that its cause is over."""
        self._write(number, "healed", {}, at)

    def back(self, number: int, *, at: float | None = None) -> None:
        """Note that whom it struck works again."""
        self._write(number, "back", {}, at)

    def _write(self, number: int, what: str, more: Mapping[str, Any], at: float | None = None) -> None:
        line = {"type": what, "at": time() if at is None else at, **more, "number": number}
        with self._one:
            self._file.write(orjson.dumps(line) + b"\n")


def faults(path: Path) -> list[Fault]:
    """Return every fault of a log, in the order in which they were planned."""
    found: dict[int, dict[str, Any]] = {}
    for line in lines(path):
        number, at = line["number"], line["at"]
        if line["type"] == "planned":
            found[number] = {"number": number, "kind": line["kind"], "target": line["target"], "fired_at": None}
        elif line["type"] == "fired":
            found[number] |= {"fired_at": at, "saw": line["saw"]}
        elif line["type"] == "missed":
            found[number] |= {"saw": line["saw"]}
        elif line["type"] == "healed":
            found[number] |= {"healed_at": at}
        else:
            found[number] |= {"back_after_s": at - found[number]["healed_at"]}
    return [Fault(**fields) for fields in found.values()]
