"""When did what happen to each payment? The tables' own times, kept so that a page can tell one payment's story.

A SQLite file of its own beside the evidence, indexed by payment: the story of one is read without
the others. No checker reads it. Times are seconds since 1970, by the database's clock.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

FILE = "moments.sqlite"

#: An event's row is written in the transaction of the change that it tells of, and has its time.
COMMITS = """
SELECT aggregateid, extract(epoch FROM created_at)::float8, id::text, type, sequence,
       shard, position, txid::text::bigint
  FROM outbox ORDER BY position
"""
WINDOWS = """
SELECT shard, number, s1::text, s2::text, lo, hi,
       extract(epoch FROM created_at)::float8, extract(epoch FROM published)::float8
  FROM relay_windows ORDER BY shard, number
"""
INBOX = """
SELECT aggregateid, extract(epoch FROM arrived_at)::float8, 'inbox',
       consumer || ' worked on ' || type || ', message ' || message_id
  FROM inbox JOIN outbox ON outbox.id = message_id
"""
#: A charge is named after its payment, a refund after its row, a webhook after its event.
EFFECTS = """
SELECT coalesce(refunds.payment_id::text, outbox.aggregateid, effects.subject),
       extract(epoch FROM at)::float8, 'effect',
       kind || coalesce(' of ' || outbox.type, '') || ' ' || event || ', now ' || effect_history.state
       || coalesce(' (attempt ' || (detail ->> 'attempt') || ')', '')
  FROM effect_history JOIN effects ON effects.id = effect_id
  LEFT JOIN refunds ON kind = 'refund' AND refunds.id::text = subject
  LEFT JOIN outbox ON kind = 'webhook' AND outbox.id::text = subject
 ORDER BY effect_history.id
"""
LEDGER = """
SELECT payment_id::text, extract(epoch FROM min(created_at))::float8, 'ledger',
       kind || ': ' || string_agg(account || ' ' || to_char(amount, 'SG999999999999FM') || ' ' || currency, ', '
                                  ORDER BY amount DESC) || ', entry ' || transaction_id
  FROM ledger_entries GROUP BY payment_id, kind, transaction_id
"""
SCHEMA = """
CREATE TABLE commits (payment, at, event, type, sequence, shard, position, txid);
CREATE TABLE windows (shard, number, s1, s2, lo, hi, recorded_at, published_at);
CREATE TABLE moments (payment, at, place, what);
"""
INDEXES = "CREATE INDEX by_payment ON moments (payment); CREATE INDEX commits_of ON commits (payment);"


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a payment."""

    #: seconds since 1970
    at: float
    #: commit, window, inbox, effect or ledger
    place: str
    what: str


def save(connection: psycopg.Connection[Any], folder: Path) -> None:
    """Write what the tables say into the folder."""
    with closing(sqlite3.connect(folder / FILE)) as file, file:
        file.executescript(SCHEMA)
        file.executemany(f"INSERT INTO commits VALUES ({_marks(8)})", connection.execute(COMMITS))  # noqa: S608  marks
        file.executemany(f"INSERT INTO windows VALUES ({_marks(8)})", connection.execute(WINDOWS))  # noqa: S608  marks
        for statement in (INBOX, EFFECTS, LEDGER):
            file.executemany("INSERT INTO moments VALUES (?, ?, ?, ?)", connection.execute(statement))
        file.executescript(INDEXES)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def of(payment: str, folder: Path) -> list[Moment]:
    """Return what happened to a payment, by time; nothing from a folder that an older version left."""
    path = folder / FILE
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        found = [
            Moment(*row) for row in file.execute("SELECT at, place, what FROM moments WHERE payment = ?", [payment])
        ]
        found += _published(file, payment)
    return sorted(found, key=lambda moment: moment.at)


def _published(file: sqlite3.Connection, payment: str) -> Iterator[Moment]:
    """Yield each event's commit, and the window that carried it."""
    commits = file.execute(
        "SELECT at, event, type, sequence, shard, position, txid FROM commits WHERE payment = ?", [payment]
    ).fetchall()
    for at, event, type_, sequence, shard, position, txid in commits:
        yield Moment(at, "commit", f"{type_}, change {sequence}, committed with event {event}")
        for number, s1, s2, recorded_at, published_at in file.execute(
            "SELECT number, s1, s2, recorded_at, published_at FROM windows"
            " WHERE shard = ? AND lo < ? AND hi >= ? ORDER BY number",
            [shard, position, position],
        ):
            if visible(txid, s2) and not visible(txid, s1):
                window = f"window {number} of shard {shard}"
                yield Moment(recorded_at, "window", f"{window} recorded, with {type_} in it")
                if published_at is not None:
                    yield Moment(published_at, "window", f"{window} noted as published")


def visible(txid: int, snapshot: str) -> bool:
    """Whether a committed transaction is visible in a `pg_snapshot`, given as text: `xmin:xmax:xip,…`."""
    xmin, xmax, under_way = snapshot.split(":")
    return txid < int(xmin) or (txid < int(xmax) and str(txid) not in under_way.split(","))
