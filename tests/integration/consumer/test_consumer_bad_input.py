"""Whatever lies on the topic is done or becomes a dead letter, whole, and its neighbours are done all the same."""

import pytest

from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging import outbox
from paidonce.app.messaging.envelope import Event
from paidonce.app.messaging.handlers import each
from paidonce.workers import charges, ledger, notifications
from paidonce.workers.broker_consumer import UnreadableRecordError
from paidonce.workers.consumer_member import is_transient

TYPE = ("ce_type", b"payment.captured")


def named(name: bytes, *more: tuple[str, bytes]) -> list:
    return [("message-id", name), TYPE, *more]


#: what -> (key, value, headers), and what the reason says
BAD = {
    "no message-id": ((b"k", b"{}", [TYPE]), "message-id is missing"),
    "an empty message-id": ((b"k", b"{}", named(b"")), "message-id is missing, empty"),
    "a message-id with NUL": ((b"k", b"{}", named(b"a\0b")), "message-id is missing, empty"),
    "a message-id that is too long": ((b"k", b"{}", named(b"x" * 256)), "too long"),
    "a message-id that is not text": ((b"k", b"{}", named(b"\xff\xfe")), "not UTF-8"),
    "two message-ids": ((b"k", b"{}", named(b"one", ("Message-ID", b"two"))), "message-id comes more than once"),
    "two types": ((b"k", b"{}", named(b"two-types", TYPE)), "ce_type comes more than once"),
    "no type": ((b"k", b"{}", [("message-id", b"no-type")]), "ce_type is missing"),
    "a type with NUL": ((b"k", b"{}", [("message-id", b"nul-type"), ("ce_type", b"payment.\0")]), "NUL"),
    "a type of something else": ((b"k", b"{}", [("message-id", b"order"), ("ce_type", b"order.placed")]), "business"),
    "an unknown type": ((b"k", b"{}", [("message-id", b"type"), ("ce_type", b"payment.exploded")]), "is unknown"),
    "a later specversion": ((b"k", b"{}", named(b"spec", ("ce_specversion", b"2.0"))), "specversion '2.0'"),
    "an unknown dataschema": ((b"k", b"{}", named(b"data", ("ce_dataschema", b"urn:v2"))), "dataschema 'urn:v2'"),
    "a tombstone": ((b"k", None, named(b"tombstone")), "tombstone"),
    "a key that is not text": ((b"\xff\xfe", b"{}", named(b"key")), "not UTF-8"),
    "a key with NUL": ((b"a\0b", b"{}", named(b"key-nul")), "NUL"),
    "a header that is not text": ((b"k", b"{}", named(b"header", ("more", b"\xff"))), "not UTF-8"),
    "not JSON": ((b"k", b"{nope", named(b"not-json")), "not JSON"),
    "JSON with NUL in a name": ((b"k", b'{"a\0": 1}', named(b"nul-json")), "not JSON"),
    "no object": ((b"k", b"[1]", named(b"list")), "not a JSON object"),
    "nothing": ((b"k", b"", named(b"empty")), "not JSON"),
    "a megabyte": ((b"k", b'"' + b"\xc3" * 1_000_000, named(b"huge")), "not JSON"),
}
#: Odd, and yet messages.
ODD = {
    "without a key": (None, b"{}", named(b"without-key")),
    "with a header of NUL": (b"k", b"{}", named(b"nul-header", ("more", b"\0"))),
    "with a header twice": (b"k", b"{}", named(b"twice", ("more", b"1"), ("more", b"2"))),
    "with a key of 10,000 characters": (b"x" * 10_000, b"{}", named(b"long-key")),
    "a megabyte of JSON": (b"k", b'{"a": "' + b"x" * 1_000_000 + b'"}', named(b"big")),
}


@pytest.fixture
def member(rig):
    def handler(tx, message):
        message.json()
        return rig.note(tx, message)

    known = frozenset({"payment.captured", "payment.declined"})
    return rig.member(each(rig.name, {"payment.captured": handler}, known=known), brake_window=1_000)


def around(rig, *records) -> tuple[str, str]:
    """Send a good message, the records, and another good one; return the ids of the good ones."""
    before, after = rig.event("before"), rig.event("after")
    rig.send([before])
    for key, value, headers in records:
        rig.raw(key, value, headers)
    rig.send([after])
    return str(before.id), str(after.id)


def test_each_kind_of_bad_input_is_a_dead_letter_and_stops_nothing(rig, member) -> None:
    """All of them on one partition, a good message before and after each."""
    good = [around(rig, record) for record, _ in BAD.values()]
    rig.run(member, until=lambda: rig.committed() == 3 * len(BAD))
    assert rig.worked() == [one for pair in good for one in pair]
    dead = rig.dead()
    for number, (what, ((_, value, headers), said)) in enumerate(BAD.items()):
        letter = dead[number]
        assert said in letter.reason, what
        assert letter.value == value, what
        assert (letter.envelope["topic"], letter.envelope["partition"]) == (rig.settings.topic, 0)
        assert letter.envelope["offset"] == 3 * number + 1, what
        assert [name for name, _ in letter.envelope["headers"]] == [name for name, _ in headers], what
    assert len(dead) == len(BAD)
    assert dead[2].envelope["headers"][0] == ["message-id", {"base64": "YQBi"}]
    assert dead[0].message_id.startswith(f"record:{rig.settings.topic}:0:1@")


def test_what_is_odd_and_yet_a_message_is_done(rig, member) -> None:
    before, after = around(rig, *ODD.values())
    rig.run(member, until=lambda: rig.committed() == len(ODD) + 2)
    assert rig.worked() == [
        before,
        *(dict(reversed(headers))["message-id"].decode() for *_, headers in ODD.values()),
        after,
    ]
    assert rig.dead() == []


def test_a_type_that_others_want_is_passed_over(rig, member) -> None:
    before, after = around(rig, (b"k", b"{}", [("message-id", b"other"), ("ce_type", b"payment.declined")]))
    rig.run(member, until=lambda: rig.committed() == 3)
    assert rig.worked() == [before, after]
    assert rig.dead() == []


@pytest.mark.parametrize("ours", [charges, ledger, notifications], ids=lambda module: module.__name__)
def test_our_own_consumers_take_no_unknown_type_and_no_nonsense(rig, ours) -> None:
    """Two letters, one of a type that nobody knows, one without what its type promises."""
    wanted = min(ours.SUBSCRIBER.types).encode()
    rig.name = ours.SUBSCRIBER.name
    rig.raw(b"k", b"{}", [("message-id", b"unknown"), ("ce_type", b"payment.exploded")])
    rig.raw(b"k", b'{"data": 1}', [("message-id", b"nonsense"), ("ce_type", wanted)])
    rig.producer.flush()
    rig.run(rig.member(ours.SUBSCRIBER), until=lambda: rig.committed() == 2)
    unknown, nonsense = rig.dead()
    assert dict(unknown.envelope["headers"])["message-id"] == "unknown"
    assert nonsense.message_id == "nonsense"


class NotText(str):
    """The name of a header that no client in Python would write."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def test_a_header_whose_name_the_client_cannot_read_ends_the_process_and_says_where(rig, member) -> None:
    """The known limit: the client would spin for ever, so it is not asked again."""
    before, _ = around(rig, (b"k", b"{}", [("message-id", b"x"), (NotText("name"), b"value")]))
    rig.run(member, until=lambda: rig.committed() == 1)
    with pytest.raises(
        UnreadableRecordError, match=rf"UnicodeDecodeError.* one of {rig.settings.topic}\[0\]@1: see docs"
    ):
        rig.pass_through(member)
    assert not is_transient(UnreadableRecordError())
    assert rig.worked() == [before]


def test_an_event_too_large_for_the_topic_is_refused_where_it_is_written(rig) -> None:
    """One that fits goes through the topic as well: the limit is not drawn too high."""
    most = rig.settings.message_bytes_max
    with rig.bind.begin() as tx:
        with pytest.raises(
            ConfigurationError, match=f"has .* bytes, the topic takes {most} .PAIDONCE_MESSAGE_BYTES_MAX"
        ):
            outbox.append(tx, large(rig, most), bytes_max=most)
        fits = large(rig, most - 2_000)
        outbox.append(tx, fits, bytes_max=most)
    assert rig.column("SELECT id FROM outbox") == [fits.id]
    rig.send([fits])
    rig.run(rig.member(), until=lambda: rig.committed() == 1)


def large(rig, size: int) -> Event:
    made = rig.event()
    return Event(made.id, made.aggregatetype, made.aggregateid, made.type, made.sequence, b"x" * size, {})
