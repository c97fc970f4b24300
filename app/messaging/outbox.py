"""How does an event leave with the transaction that caused it? It is a row of `outbox`, or nothing.

A writer locks its aggregate's row before it appends: that alone gives order per aggregate
(docs/design.md, "Outbox"). Home of the table `outbox`; reading it by windows is in
workers/windows.py.
"""

from sqlalchemy import Connection, insert

from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging.envelope import Event
from paidonce.app.steps import step
from paidonce.app.tables import outbox

#: Bytes that Kafka adds around key, value and headers of one record, at most (varints, CRC, batch).
RECORD_OVERHEAD_BYTES = 512


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
