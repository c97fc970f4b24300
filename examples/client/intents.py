"""What did we want, and under which key? Written to the disk before the first byte of it is sent.

A key that only lives in memory is a second payment after a crash. SQLite is enough: one file, one row an intent.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from .outcome import Ok, Refused

#: Seconds to wait for another process of ours that writes.
BUSY_S = 60.0

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS intents (
        name TEXT PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        path TEXT NOT NULL,
        body TEXT NOT NULL,
        created_at TEXT NOT NULL,
        outcome TEXT  -- JSON; NULL while it is open
    )
"""


class ChangedIntentError(Exception):
    """This intent was saved with another request: what is wanted anew needs a name of its own."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing that we want to happen once."""

    #: ours, such as the number of the order: who wants the same thing again says the same name
    name: str
    #: goes with every attempt
    key: str
    path: str
    #: the very text that is sent, so that every attempt is the same
    body: str
    created_at: datetime
    #: None: open, that is, an attempt may be under way or have been lost
    outcome: Ok | Refused | None


class Intents:
    """The file of the intents. Several processes may have it open."""

    def __init__(self, path: Path) -> None:
        # Any thread may use it: each statement is a transaction of its own, and the module runs one at a time.
        self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        # The journal's folder is synced as well: after a power cut the row is there, or nothing was sent.
        self._db.execute("PRAGMA synchronous = EXTRA")
        self._db.execute(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def save(self, name: str, path: str, body: Mapping[str, Any]) -> tuple[Intent, bool]:
        """Return the intent `name`, on the disk, and whether it is new: then certainly nothing of it was sent.

        Raises:
            ChangedIntentError: there is one, and it wants something else.
        """
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        new = self._db.execute(
            "INSERT INTO intents VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT (name) DO NOTHING",
            (name, uuid4().hex, path, text, datetime.now(UTC).isoformat()),
        ).rowcount
        found = next(self._read("WHERE name = ?", name))
        if (found.path, found.body) != (path, text):
            raise ChangedIntentError(f"{name} was to be {found.path} {found.body}, and is now to be {path} {text}")
        return found, new == 1

    def settle(self, intent: Intent, outcome: Ok | Refused) -> None:
        """Keep how it ended; nothing changes that again."""
        kind = "ok" if isinstance(outcome, Ok) else "refused"
        told = {name: getattr(outcome, name) for name in outcome.__slots__}
        self._db.execute(
            "UPDATE intents SET outcome = ? WHERE name = ? AND outcome IS NULL",
            (json.dumps([kind, told]), intent.name),
        )

    def open(self) -> list[Intent]:
        """Return what has not ended, oldest first: after a crash, and now and then."""
        return list(self._read("WHERE outcome IS NULL ORDER BY created_at, name"))

    def _read(self, where: str, *values: str) -> Iterator[Intent]:
        columns = "name, key, path, body, created_at, outcome"
        with closing(self._db.execute(f"SELECT {columns} FROM intents {where}", values)) as rows:  # noqa: S608  ours
            for name, key, path, body, created_at, outcome in rows.fetchall():
                yield Intent(name, key, path, body, datetime.fromisoformat(created_at), _outcome(outcome))


def _outcome(text: str | None) -> Ok | Refused | None:
    if text is None:
        return None
    kind, told = json.loads(text)
    return Ok(**told) if kind == "ok" else Refused(**told)
