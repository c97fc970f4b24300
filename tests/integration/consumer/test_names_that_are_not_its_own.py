"""A record that nobody can work on takes nothing from the event whose id it names."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from paidonce.app.audit import By
from paidonce.app.messaging import outbox
from paidonce.app.messaging.envelope import encode
from paidonce.app.messaging.handlers import each
from paidonce.workers import dead_letters as work

BY = By("ann", "command line", "a test")

#: What somebody sends under an event's id -> (payload, headers in another's place).
FORGED = {
    "another specversion": (b"{}", {"ce_specversion": b"9.9"}),
    "a type that nobody knows": (b"{}", {"ce_type": b"payment.weird"}),
    "a dataschema that nobody knows": (b"{}", {"ce_dataschema": b"v9"}),
    "a type with NUL": (b"{}", {"ce_type": b"payment.\0"}),
    "bytes that are no JSON": (b"not json", {}),
    "a tombstone": (None, {}),
}


def worker(rig, **more):
    def handler(tx, message):
        message.json()
        return rig.note(tx, message)

    known = frozenset({"payment.captured"})
    return rig.member(each(rig.name, {"payment.captured": handler}, known=known, **more), brake_window=1_000)


def appended(rig, **headers):
    """An event as our outbox has it."""
    event = replace(rig.event(), headers=headers)
    with rig.bind.begin() as tx:
        outbox.append(tx, event, bytes_max=rig.settings.message_bytes_max)
    return event


def send(rig, event, value, changed=()) -> None:
    headers = dict(encode(event, datetime.now(UTC))) | dict(changed)
    rig.raw(event.aggregateid.encode(), value, list(headers.items()))
    rig.producer.flush()


@pytest.mark.parametrize("together", [True, False])
def test_the_true_event_is_worked_on_whatever_came_under_its_id_before(rig, together) -> None:
    """In one batch with it, or in one before."""
    member = worker(rig)
    events = [appended(rig) for _ in FORGED]
    for event, (value, changed) in zip(events, FORGED.values(), strict=True):
        send(rig, event, value, changed.items())
    if not together:
        rig.run(member, until=lambda: rig.committed() == len(FORGED))
    rig.send(events)
    rig.run(member, until=lambda: rig.committed() == 2 * len(FORGED))
    assert rig.worked() == [str(event.id) for event in events]
    places = [f"record:{rig.settings.topic}:0:{offset}@" for offset in range(len(FORGED))]
    assert [row.message_id.split("@")[0] + "@" for row in rig.dead()] == places
    for event in events:
        send(rig, event, b"not json")
    rig.send(events)
    rig.run(member, until=lambda: rig.committed() == 4 * len(FORGED))
    assert (len(rig.worked()), len(rig.dead())) == (len(FORGED), len(FORGED)), "the inbox absorbs copies as before"


def test_an_event_of_ours_that_this_program_does_not_read_keeps_its_id(rig) -> None:
    """So its copies are one letter, and the cleaner sees that the consumer got it."""
    event = appended(rig, ce_dataschema="v2")
    member = worker(rig)
    for _ in range(2):
        send(rig, event, event.payload)
    rig.run(member, until=lambda: rig.committed() == 2)
    assert [row.message_id for row in rig.dead()] == [str(event.id)]
    assert rig.column("SELECT message_id::text FROM inbox") == [str(event.id)]


@pytest.mark.parametrize("first", ["copy", "letter"])
def test_a_letter_that_a_newer_program_reads_is_worked_on_once_with_its_copies(rig, first) -> None:
    """It was named by its place; when it is worked on, it is a message, and counts by its id."""
    event, later = rig.event(), {"ce_dataschema": b"v2"}
    old = worker(rig)
    send(rig, event, b"{}", later.items())
    rig.run(old, until=lambda: rig.committed() == 1)
    rig.leave(old)
    newer = worker(rig, dataschemas=frozenset({"v2"}))

    def copy() -> None:
        before = rig.committed()
        send(rig, event, b"{}", later.items())
        rig.run(newer, until=lambda: rig.committed() == before + 1)

    def redrive() -> None:
        assert [bool(one.done) for one in work.redrive_all(rig.bind, rig.settings, rig.name, BY)] == [True]
        rig.run(newer, until=lambda: rig.column("SELECT state FROM dead_letters") == ["done"])

    for step in (copy, redrive) if first == "copy" else (redrive, copy):
        step()
    assert rig.worked() == [str(event.id)]


def test_a_redriven_letter_that_is_poison_again_leaves_the_id_to_the_true_event(rig) -> None:
    event = appended(rig)
    member = worker(rig)
    send(rig, event, b"not json")
    rig.run(member, until=lambda: rig.committed() == 1)
    assert [bool(one.done) for one in work.redrive_all(rig.bind, rig.settings, rig.name, BY)] == [True]
    rig.run(member, until=lambda: rig.column("SELECT state FROM dead_letters") == ["dead"])
    rig.send([event])
    rig.run(member, until=lambda: rig.committed() == 2)
    assert rig.worked() == [str(event.id)]
