"""Where does it go on? At the slot: after a lost offset file, while the outbox is silent, and from and to the relay."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text

from paidonce.devstack import debezium
from paidonce.workers import status

pytestmark = pytest.mark.cdc

#: 2 MB of log that has nothing to do with the outbox.
ELSEWHERE = "INSERT INTO elsewhere SELECT repeat('x', 1000) FROM generate_series(1, 2000)"


def test_without_its_offset_file_it_begins_where_the_slot_stands(rig: Any) -> None:
    """A container that lost its disk: nothing is lost, and what was not confirmed yet comes again."""
    rig.prepare()
    rig.start()
    first = rig.append(*"abcdef")
    rig.arrived(first)
    offsets = rig.run.folder / rig.slot / "data" / "offsets.dat"
    rig.wait(offsets.exists, "the offset file")
    rig.kill()
    offsets.unlink()
    second = rig.append(*"ghi", first=10)
    rig.start()
    rig.arrived(second)
    rig.stop()
    assert set(rig.ids()) == {*first, *second}


def test_the_slot_moves_on_while_only_other_tables_are_written(rig: Any) -> None:
    """Without heartbeats the log of everybody would be kept until the next event."""
    rig.prepare()
    rig.start(debezium_source_heartbeat_interval_ms="500")
    rig.arrived(rig.append("k"))
    with rig.bind.begin() as tx:
        tx.execute(text("CREATE TABLE elsewhere (x text)"))
        tx.execute(text(ELSEWHERE))
        written = tx.scalar(text("SELECT pg_current_wal_insert_lsn()::text"))
    passed = f"SELECT confirmed_flush_lsn > '{written}' FROM pg_replication_slots WHERE slot_name = '{rig.slot}'"
    rig.wait(lambda: rig.scalar(passed), "the slot to move on")
    assert debezium.lag_bytes(rig.dsn, rig.slot) < 1_000_000
    shown = status.read(rig.settings.model_copy(update={"cdc_slot": rig.slot})).cdc
    assert shown is not None
    assert (shown.name, shown.active, shown.wal_status) == (rig.slot, True, "reserved")
    assert shown.unread_bytes is not None
    assert shown.unread_bytes < 1_000_000


def test_from_the_relay_to_cdc_and_back_nothing_is_lost(rig: Any, told: Any) -> None:
    """As docs/cdc.md says: what may come twice is what both were there for, and nothing else does."""
    before = rig.append(*"abc")
    relay = rig.ours("relay")
    rig.arrived(before)
    rig.prepare()
    both = rig.append(*"abc", first=1)
    rig.arrived(both)
    rig.started.remove(relay)
    assert relay.stop(), "the relay hands over in order"
    between = rig.append(*"abc", first=2)
    rig.start()
    cdc = rig.append(*"abc", first=3)
    rig.arrived([*between, *cdc])
    # On a quiet machine it is done by now; what the relay had sent comes again before what it had not.
    rig.stop()
    assert Counter(rig.ids()) == Counter([*before, *both, *both, *between, *cdc])

    debezium.drop_slot(rig.dsn, rig.slot)
    back = rig.append(*"abc", first=4)
    rig.ours("relay")
    rig.arrived(back)
    seen = Counter(rig.ids())
    assert seen == Counter([*before, *both, *both, *between, *cdc, *between, *cdc, *back])
    told(f"{len(both)} events twice on the way to CDC, {len(between) + len(cdc)} on the way back")
