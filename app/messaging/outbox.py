"""How does an event leave with the transaction that caused it? It is a row of `outbox`, or nothing.

A writer locks its aggregate's row before it appends: that alone gives order per aggregate
(docs/design.md, "Outbox"). Home of the table `outbox`; reading it by windows is in
workers/windows.py.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, and_, func, insert, select

from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging.envelope import DATASCHEMA, REPLAYED, TIME, Event, Message
from paidonce.app.steps import step
from paidonce.app.tables import outbox

#: Bytes that Kafka adds around key, value and headers of one record, at most (varints, CRC, batch).
RECORD_OVERHEAD_BYTES = 512

#: The same statement for whoever appends on a connection of their own (app/yours/outbox.py, docs/outbox-contract.md).
APPEND = """
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers)
    VALUES (CAST(%(id)s AS uuid), %(aggregatetype)s, %(aggregateid)s, %(type)s, %(sequence)s, %(payload)s,
            CAST(%(headers)s AS jsonb))
"""

#: Originals only: a copy of a copy would tell nobody anything.
IN_RANGE = """
       created_at >= %(start)s AND created_at < %(end)s AND NOT jsonb_exists(headers, %(mark)s)
   AND (%(aggregateid)s::text IS NULL OR aggregateid = %(aggregateid)s)
"""
RETAINED = f"""
    SELECT type, count(*), min(created_at), max(created_at) FROM outbox WHERE {IN_RANGE} GROUP BY type ORDER BY type
"""  # noqa: S608  our own text
COPY = f"""
    WITH originals AS MATERIALIZED (
        SELECT * FROM outbox
         WHERE shard = %(shard)s AND position > %(after)s AND position <= %(up_to)s AND {IN_RANGE}
         ORDER BY position LIMIT %(most)s
    ), copies AS (
        INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers)
        SELECT id, aggregatetype, aggregateid, type, sequence, payload,
               headers || jsonb_build_object(%(time)s::text, created_at, %(mark)s::text, now())
          FROM originals ORDER BY position
    )
    SELECT count(*), max(position) FROM originals
"""  # noqa: S608  our own text

#: Of a trace the id alone: `00-` and 32 digits.
OF_AGGREGATE = """
    SELECT position, txid::text, shard, id, type, sequence, created_at, jsonb_exists(headers, %(mark)s),
           substr(headers ->> 'traceparent', 4, 32)
      FROM outbox WHERE aggregatetype = %(about)s AND aggregateid = %(aggregateid)s
     ORDER BY position LIMIT %(most)s
"""


def check_size(event: Event, bytes_max: int) -> None:
    """Refuse an event that the topic would refuse: it would stop its shard for ever.

    Raises:
        ConfigurationError: names the size and the limit (`PAIDONCE_MESSAGE_BYTES_MAX`).
    """
    headers = sum(len(name) + len(value.encode()) for name, value in event.headers.items())
    size = len(event.payload) + headers + 4 * len(event.aggregateid) + len(event.type) + RECORD_OVERHEAD_BYTES
    if size > bytes_max:
        raise ConfigurationError(
            f"event {event.id} ({event.type}) has {size} bytes, the topic takes {bytes_max} "
            "(PAIDONCE_MESSAGE_BYTES_MAX): make the payload smaller"
        )


@step("outbox.append")
def append(tx: Connection, event: Event, *, bytes_max: int) -> None:
    """Write `event` in the caller's transaction; raises as `check_size` does."""
    check_size(event, bytes_max)
    tx.execute(
        insert(outbox).values(
            id=event.id,
            aggregatetype=event.aggregatetype,
            aggregateid=event.aggregateid,
            type=event.type,
            sequence=event.sequence,
            payload=event.payload,
            headers=dict(event.headers),
        )
    )


def has(tx: Connection, message: Message) -> bool | None:
    """Tell whether `message` is the event that is here under its id; None when none is, or no longer."""
    schema = message.headers.get(DATASCHEMA)
    try:
        id_ = UUID(message.message_id)
    except ValueError:
        return None
    if "\0" in message.key + message.type + (schema or ""):
        return False
    said = (
        outbox.c.aggregateid == message.key,
        outbox.c.type == message.type,
        outbox.c.payload == message.value,
        outbox.c.headers[DATASCHEMA].astext.is_not_distinct_from(schema),
    )
    # A replay's copies are alike.
    found: bool | None = tx.scalar(select(func.bool_or(and_(*said))).where(outbox.c.id == id_))
    return found


class Appended(NamedTuple):
    """A row of the outbox, without its payload."""

    position: int
    #: of the transaction that wrote it
    txid: str
    shard: int
    id: UUID
    type: str
    sequence: int
    created_at: datetime
    #: whether a replay made it of an earlier one
    is_copy: bool
    trace_id: str | None


def of_aggregate(tx: Connection, about: str, aggregateid: str, *, most: int) -> list[Appended]:
    """Return up to `most` retained events of one aggregate, copies among them, by position."""
    bounds = {"about": about, "aggregateid": aggregateid, "mark": REPLAYED, "most": most}
    return [Appended(*row) for row in tx.exec_driver_sql(OF_AGGREGATE, bounds)]


def aggregate_of(tx: Connection, message_id: UUID) -> tuple[str, str] | None:
    """Return type and id of what the event is about; None when no event is here under this id, or no longer."""
    found = select(outbox.c.aggregatetype, outbox.c.aggregateid).where(outbox.c.id == message_id).limit(1)
    row = tx.execute(found).one_or_none()
    return None if row is None else (row.aggregatetype, row.aggregateid)


@dataclass(frozen=True, slots=True)
class Range:
    """Events by when they were appended: from `start` until before `end`; of one aggregate, or of all."""

    start: datetime
    end: datetime
    aggregateid: str | None = None

    def parameters(self) -> dict[str, object]:
        """Return what IN_RANGE asks for."""
        return {"start": self.start, "end": self.end, "aggregateid": self.aggregateid, "mark": REPLAYED}


@dataclass(frozen=True, slots=True)
class Retained:
    """What the outbox has of a range; copies do not count."""

    events: int
    #: type -> how many
    by_type: dict[str, int]
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Copied:
    """What one batch of copies was made of."""

    events: int
    #: of the last original
    position: int


def retained(tx: Connection, wanted: Range) -> Retained:
    """Return what there is of a range."""
    rows = tx.exec_driver_sql(RETAINED, wanted.parameters()).all()
    return Retained(
        sum(count for _, count, _, _ in rows),
        {type_: count for type_, count, _, _ in rows},
        min((first for _, _, first, _ in rows), default=None),
        max((last for _, _, _, last in rows), default=None),
    )


def oldest(tx: Connection) -> datetime | None:
    """Return when the oldest retained event was appended; None: there is none."""
    moment: datetime | None = tx.scalar(select(func.min(outbox.c.created_at)))
    return moment


def last_position(tx: Connection) -> int:
    """Return the largest position; 0: there is none."""
    return int(tx.scalar(select(func.max(outbox.c.position))) or 0)


@step("outbox.copy")
def copy(tx: Connection, wanted: Range, *, shard: int, after: int, up_to: int, most: int) -> Copied:
    """Append copies of the next `most` originals of a shard with positions in (after, up_to].

    A copy has everything of its original, `id`, `sequence` and time included; its header
    `ce_replayedtime` tells it from that.
    """
    tx.exec_driver_sql("SET LOCAL timezone = 'UTC'")
    bounds = {"shard": shard, "after": after, "up_to": up_to, "most": most, "time": TIME}
    count, position = tx.exec_driver_sql(COPY, wanted.parameters() | bounds).one()
    return Copied(count, position or after)
