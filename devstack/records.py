"""Which process was that? Its pid and when it began, in a file: a pid alone may be somebody else's by now."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from paidonce.devstack.processes import Process

#: Seconds by which a process's start may seem to move when the machine's clock is set.
MOVED_S = 1.0


@dataclass(frozen=True)
class Record:
    """A process as it was recorded right after its start."""

    name: str
    pid: int
    #: seconds since the epoch
    created: float

    def process(self) -> psutil.Process | None:
        """Return the process if it still is the one that was recorded."""
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.created) < MOVED_S:
                return process
        return None


def record(folder: Path, process: Process) -> None:
    """Write a record, whole or not at all."""
    entry = Record(process.name, process.pid, process.created)
    unfinished = folder / f".{process.name}"
    unfinished.write_text(json.dumps(asdict(entry)))
    unfinished.replace(folder / f"{process.name}.json")


def records(folder: Path) -> list[Record]:
    """Return what is recorded; an unreadable file is nobody's process."""
    found = []
    for path in folder.glob("*.json"):
        with suppress(ValueError, TypeError, OSError):
            found.append(Record(**json.loads(path.read_text())))
    return found
