"""A record is read without ever raising, kept whole, and read again from what was kept."""

import json
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from paidonce.app.messaging.handlers import each
from paidonce.workers.consumer_records import envelope, read, restore

PAYMENTS = each("test", {})
BYTES = st.none() | st.binary(max_size=40) | st.sampled_from([b"", b"payment.captured", b"id-1", b"\0", b"\xff"])
NAMES = st.sampled_from(["message-id", "Message-Id", "ce_type", "x"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=12
)


@dataclass
class Given:
    key: bytes | None
    value: bytes | None
    headers: list = field(default_factory=list)
    topic: str = "payments"
    partition: int = 2
    offset: int = 7
    timestamp: int = 1234


@given(st.builds(Given, BYTES, BYTES, st.lists(st.tuples(NAMES, BYTES), max_size=5)))
def test_anything_is_a_message_or_has_a_fault_and_an_id(record) -> None:
    arrival = read(record, PAYMENTS)
    assert (arrival.message is None) == bool(arrival.fault)
    assert 0 < len(arrival.message_id) <= 255
    kept = json.dumps(envelope(arrival))
    assert "\\u0000" not in kept.replace("\\\\", "")
    assert "\0" not in arrival.message_id + (arrival.key or "")
    if arrival.message is not None:
        assert restore(json.loads(kept), record.value) == arrival.message


def test_a_record_that_is_no_message_names_an_id_but_does_not_take_it() -> None:
    place = "record:payments:2:7@1234"
    malformed = read(Given(b"k", None, [("message-id", b"id-1")]), PAYMENTS)
    assert (malformed.message_id, malformed.refused) == (place, None)
    assert envelope(malformed)["synthetic_id"]
    refused = read(Given(b"k", b"{}", [("message-id", b"id-1"), ("ce_type", b"order.placed")]), PAYMENTS)
    assert (refused.message_id, refused.refused and refused.refused.message_id) == (place, "id-1")
    assert not envelope(refused._replace(message_id="id-1"))["synthetic_id"]


def test_a_record_without_an_id_is_named_by_its_place_and_marked() -> None:
    arrival = read(Given(b"k", b"{}"), PAYMENTS)
    assert (arrival.message_id, envelope(arrival)["synthetic_id"]) == ("record:payments:2:7@1234", True)


def test_a_type_of_another_aggregate_has_no_business_here() -> None:
    headers = [("message-id", b"id-1"), ("ce_type", b"paymentish.captured")]
    assert "no business" in read(Given(b"k", b"{}", headers), PAYMENTS).fault
