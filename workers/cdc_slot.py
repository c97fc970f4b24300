"""How far has CDC read the outbox? As far as its replication slot stands, where Debezium publishes instead of a relay.

The slot, not the table, is what Debezium reads from; but until it has read a day, that day is
what the events could still be published from if the slot were lost (docs/cdc.md).
"""

from dataclasses import dataclass

from paidonce.app.errors import ConfigurationError
from paidonce.workers.leases import Session

#: Every transaction below the slot's catalog_xmin had ended before what it has confirmed, so its events were sent.
#: age() counts from the next transaction id, xmax is at most that: so the bound errs towards "not yet".
PASSED = """
    SELECT NOT EXISTS (SELECT FROM {partition}
                        WHERE shard IN (SELECT generate_series(0, %(shards)s - 1)) AND txid >= seen.xid)
      FROM pg_replication_slots AS slot,
           LATERAL (SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - age(slot.catalog_xmin))
                           ::text::xid8 AS xid) AS seen
     WHERE slot.slot_name = %(slot)s AND slot.wal_status <> 'lost'
"""
STATE = """
    SELECT slot_name::text, active, wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
      FROM pg_replication_slots WHERE slot_name = %(slot)s
"""


@dataclass(frozen=True)
class Slot:
    """A replication slot, as an operator looks at it."""

    name: str
    #: whether Debezium is connected
    active: bool
    #: `reserved`, `extended`; with `unreserved` and `lost` the server gives it up
    wal_status: str | None
    #: bytes of log that it has not confirmed
    unread_bytes: int | None


def look(session: Session, slot: str) -> Slot:
    """Return how far `slot` is; where there is none, `lost`."""
    row = session.execute(STATE.encode(), {"slot": slot}).fetchone()
    return Slot(*row) if row else Slot(slot, active=False, wal_status="lost", unread_bytes=None)


def passed_wholly(session: Session, slot: str, partition: str, *, shards: int) -> bool:
    """Tell whether every committed row of a partition of the outbox was read and confirmed through `slot`.

    Raises:
        ConfigurationError: there is no such slot, or the server has given it up.
    """
    row = session.execute(PASSED.format(partition=partition).encode(), {"slot": slot, "shards": shards}).fetchone()
    if row is None:
        raise ConfigurationError(
            f"there is no usable replication slot {slot} (PAIDONCE_CDC_SLOT): what nobody has published, "
            "a relay must (docs/cdc.md)"
        )
    return bool(row[0])
