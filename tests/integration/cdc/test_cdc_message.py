"""A consumer cannot tell who published a message: the same key, value, partition and headers."""

from datetime import datetime
from typing import Any

import pytest

from paidonce.app.messaging.envelope import FOLDED, decode
from paidonce.workers.broker_admin import Topics

pytestmark = pytest.mark.cdc

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def by_id(records: list[Any]) -> dict[str, Any]:
    return {dict(record.headers)["message-id"].decode(): record for record in records}


def test_a_message_is_the_relays_header_by_header(rig: Any) -> None:
    """docs/cdc.md names the two differences: how the moment is spelled, and where the trace travels."""
    rig.prepare()
    other = f"{rig.settings.topic}-cdc"
    with Topics(rig.settings) as topics:
        topics.ensure([other])
    written = [
        *rig.append("a-key", "another", "Überweisung-€", headers=TRACE),
        *rig.append("a-key", first=7, type="payment.declined", payload=b"\x00\xff not JSON, nor UTF-8 \x80"),
        *rig.append("big", payload=b"x" * 900_000),
        *rig.append("last", payload=b" ", headers={"x-empty": "", 'quote"d': "\\ü"}),
    ]
    rig.ours("relay")
    rig.start(topic=other)
    rig.arrived(written)
    rig.arrived(written, other)
    relays, cdcs = by_id(rig.records()), by_id(rig.records(other))
    assert set(relays) == set(cdcs) == set(written)
    for id_, ours in relays.items():
        theirs = cdcs[id_]
        assert (theirs.key, theirs.value, theirs.partition) == (ours.key, ours.value, ours.partition)
        our_headers, their_headers = dict(ours.headers), dict(theirs.headers)
        assert len(their_headers) == len(theirs.headers), "no header comes twice"
        moment, their_moment = (headers.pop("ce_time").decode() for headers in (our_headers, their_headers))
        assert datetime.fromisoformat(moment) == datetime.fromisoformat(their_moment)
        del their_headers[FOLDED]
        with_trace = {
            name: value for name, value in our_headers.items() if name not in ("traceparent", "x-empty", 'quote"d')
        }
        assert their_headers == with_trace
        # What a consumer of ours gets has them again where they were.
        message, their_message = (decode(one.key, one.value, one.headers) for one in (ours, theirs))
        names = set(message.headers) - {"ce_time"}
        assert set(their_message.headers) - {"ce_time"} == names
        assert {name: their_message.headers[name] for name in names} == {name: message.headers[name] for name in names}
        assert (their_message.key, their_message.type, their_message.value) == (
            message.key,
            message.type,
            message.value,
        )


def test_another_aggregate_goes_to_a_topic_of_its_own(rig: Any) -> None:
    kind = f"order{rig.slot.replace('_', '')}"
    with Topics(rig.settings) as topics:
        topics.ensure([f"{kind}s"])
    rig.prepare()
    rig.start()
    payment, order = rig.append("p"), rig.append("o", aggregatetype=kind, type=f"{kind}.made")
    rig.arrived(payment)
    rig.arrived(order, f"{kind}s")
    assert rig.ids() == payment
