"""What was the provider asked, what did it answer, and what did it charge? One SQLite file.

Written before each answer, so that a SIGKILL of the simulator forgets nothing that a client was
told. A witness for the checkers: they group it by `reference`, never by key. Times are seconds
since 1970.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

Kind = Literal["charge", "refund"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    n INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    query TEXT NOT NULL, headers TEXT NOT NULL, idem_key TEXT, reference TEXT, body BLOB NOT NULL,
    status INTEGER, answer BLOB, answered_at REAL, note TEXT);
CREATE INDEX IF NOT EXISTS calls_reference ON calls (path, reference);
CREATE TABLE IF NOT EXISTS charges (
    id TEXT PRIMARY KEY, at REAL NOT NULL, call INTEGER NOT NULL, idem_key TEXT NOT NULL, reference TEXT NOT NULL,
    status TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL, payment_method TEXT NOT NULL,
    document BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS charges_reference ON charges (reference);
CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY, at REAL NOT NULL, call INTEGER NOT NULL, idem_key TEXT NOT NULL, reference TEXT NOT NULL,
    status TEXT NOT NULL, amount INTEGER NOT NULL, charge TEXT NOT NULL, document BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS refunds_reference ON refunds (reference);
CREATE INDEX IF NOT EXISTS refunds_charge ON refunds (charge);
CREATE TABLE IF NOT EXISTS keys (
    idem_key TEXT PRIMARY KEY, at REAL NOT NULL, fingerprint TEXT NOT NULL, document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
    webhook_id TEXT PRIMARY KEY, body BLOB NOT NULL, copies INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    due REAL, delivered_at REAL);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due) WHERE due IS NOT NULL;
"""

_TABLES: Mapping[Kind, str] = {"charge": "charges", "refund": "refunds"}


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was done under a key."""

    fingerprint: str
    document: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """A webhook that is to be sent now."""

    webhook_id: str
    body: bytes
    attempts: int


class Journal:
    """The file; every method is a transaction of its own, but inside `together`."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        # WAL and NORMAL: what was committed survives a kill of the process; only a power cut could take it
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Commit all that happens inside at once, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def asked(
        self, *, at: float, method: str, path: str, query: str, headers: Mapping[str, str], key: str | None, body: bytes
    ) -> int:
        """Note a request as it came; return its number."""
        row = (at, method, path, query, orjson.dumps(dict(headers)).decode(), key, body)
        sql = "INSERT INTO calls (at, method, path, query, headers, idem_key, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
        return self._db.execute(sql, row).lastrowid or 0

    def attempt(self, call: int, path: str, reference: str) -> int:
        """Note what the request is about; return how many came about it so far, this one included."""
        self._db.execute("UPDATE calls SET reference = ? WHERE n = ?", (reference, call))
        sql = "SELECT count(*) FROM calls WHERE path = ? AND reference = ? AND n <= ? AND method = 'POST'"
        found: int = self._db.execute(sql, (path, reference, call)).fetchone()[0]
        return found

    def answered(self, call: int, *, at: float, status: int | None, answer: bytes, note: str | None) -> None:
        """Note what is about to be answered; status None: nothing, the connection was reset."""
        sql = "UPDATE calls SET status = ?, answer = ?, answered_at = ?, note = ? WHERE n = ?"
        self._db.execute(sql, (status, answer, at, note, call))

    def remembered(self, key: str, since: float) -> Remembered | None:
        """Return what was done under `key`, when that was after `since`."""
        sql = "SELECT fingerprint, document FROM keys WHERE idem_key = ? AND at > ?"
        row = self._db.execute(sql, (key, since)).fetchone()
        return Remembered(*row) if row else None

    def remember(self, key: str, fingerprint: str, document: bytes, *, at: float) -> None:
        """Remember what was done under `key`; an older memory of it has expired."""
        self._db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)", (key, at, fingerprint, document))

    def add_charge(self, document: Mapping[str, Any], *, at: float, call: int, key: str, payment_method: str) -> None:
        """Keep a new charge."""
        values = (document["id"], at, call, key, document["reference"], document["status"], document["amount"])
        row = (*values, document["currency"], payment_method, orjson.dumps(document))
        self._db.execute("INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def add_refund(self, document: Mapping[str, Any], *, at: float, call: int, key: str) -> None:
        """Keep a new refund."""
        values = (document["id"], at, call, key, document["reference"], document["status"], document["amount"])
        row = (*values, document["charge"], orjson.dumps(document))
        self._db.execute("INSERT INTO refunds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def find(self, kind: Kind, reference: str, until: float) -> list[dict[str, Any]]:
        """Return every object under `reference` that was made until then, oldest first."""
        sql = f"SELECT document FROM {_TABLES[kind]} WHERE reference = ? AND at <= ? ORDER BY at"  # noqa: S608  ours
        return [orjson.loads(row[0]) for row in self._db.execute(sql, (reference, until))]

    def page(
        self, kind: Kind, *, since: int, until: int, before: str | None, limit: int, charge: str | None = None
    ) -> list[dict[str, Any]]:
        """Return up to `limit` objects, newest first: made in these seconds, before `before`, of `charge` if named."""
        table = _TABLES[kind]
        older = f"rowid < coalesce((SELECT rowid FROM {table} WHERE id = ?), 9223372036854775807)"  # noqa: S608  ours
        of_charge = " AND charge = ?" if charge else ""
        sql = f"""SELECT document FROM {table} WHERE cast(at AS integer) BETWEEN ? AND ? AND {older}{of_charge}
                   ORDER BY rowid DESC LIMIT ?"""  # noqa: S608  ours
        values = (since, until, before, *([charge] if charge else []), limit)
        return [orjson.loads(row[0]) for row in self._db.execute(sql, values)]

    def charge(self, charge_id: str) -> tuple[dict[str, Any], str] | None:
        """Return a charge and its payment method."""
        row = self._db.execute("SELECT document, payment_method FROM charges WHERE id = ?", (charge_id,)).fetchone()
        return (orjson.loads(row[0]), row[1]) if row else None

    def refunded(self, charge_id: str) -> int:
        """Return what the charge's succeeded refunds add up to."""
        sql = "SELECT coalesce(sum(amount), 0) FROM refunds WHERE charge = ? AND status = 'succeeded'"
        found: int = self._db.execute(sql, (charge_id,)).fetchone()[0]
        return found

    def add_delivery(self, webhook_id: str, body: bytes, *, copies: int, due: float) -> None:
        """Keep a webhook until it has been taken `copies` times."""
        sql = "INSERT INTO deliveries (webhook_id, body, copies, due) VALUES (?, ?, ?, ?)"
        self._db.execute(sql, (webhook_id, body, copies, due))

    def due(self, at: float, limit: int) -> list[Due]:
        """Return up to `limit` webhooks that are due."""
        sql = "SELECT webhook_id, body, attempts FROM deliveries WHERE due <= ? ORDER BY due LIMIT ?"
        return [Due(*row) for row in self._db.execute(sql, (at, limit))]

    def next_due(self) -> float | None:
        """Return when the next webhook is due; None when there is none."""
        found: float | None = self._db.execute("SELECT min(due) FROM deliveries WHERE due IS NOT NULL").fetchone()[0]
        return found

    def delivered(self, webhook_id: str, *, at: float) -> None:
        """Note that one copy was taken; the next, if there is one, is due at once."""
        sql = """UPDATE deliveries SET attempts = attempts + 1, copies = copies - 1, delivered_at = ?1,
                        due = CASE WHEN copies > 1 THEN ?1 END WHERE webhook_id = ?2"""
        self._db.execute(sql, (at, webhook_id))

    def not_delivered(self, webhook_id: str, *, due: float) -> None:
        """Note that it was not taken, and when to try again."""
        self._db.execute(
            "UPDATE deliveries SET attempts = attempts + 1, due = ? WHERE webhook_id = ?", (due, webhook_id)
        )
