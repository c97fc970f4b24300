"""A batch is done once, together where it can be, and one bad message never harms its neighbours."""

from datetime import timedelta

from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Done, Poison, RetryLater


def test_a_batch_and_one_more_are_done_once_and_in_order(rig) -> None:
    sent = [rig.event() for _ in range(21)]
    rig.send(sent)
    member = rig.member(consumer_batch=20)
    rig.run(member, until=lambda: len(rig.worked()) >= 21)
    assert rig.worked() == [str(one.id) for one in sent]
    assert rig.committed() == 21
    assert rig.scalar("SELECT count(*) FROM inbox") == 21


def test_poison_in_the_middle_is_a_dead_letter_and_its_neighbours_are_done(rig) -> None:
    sent = [rig.event(key=str(n)) for n in range(21)]

    def handler(tx, message):
        rig.note(tx, message)
        if message.key == "7":
            raise ValueError("cannot be worked on")
        return Poison("refused") if message.key == "13" else rig.note(tx, message)

    rig.send(sent)
    rig.run(rig.member(handler), until=lambda: rig.committed() == 21)
    assert rig.worked_keys() == [str(n) for n in range(21) if n not in {7, 13} for _ in (1, 2)]
    assert [(row.message_id, row.key, row.value, row.reason) for row in rig.dead()] == [
        (str(sent[7].id), "7", b"{}", "ValueError: cannot be worked on"),
        (str(sent[13].id), "13", b"{}", "refused"),
    ]
    headers = dict(rig.dead()[0].envelope["headers"])
    assert headers["message-id"] == str(sent[7].id)
    assert headers["ce_type"] == "payment.captured"


def test_later_messages_of_a_parked_key_wait_in_order_while_others_go_on(rig) -> None:
    sent, opened = [rig.event(key) for key in ("a", "b", "a", "c", "a")], []

    def handler(tx, message):
        if message.message_id == str(sent[0].id) and not opened:
            return RetryLater(timedelta(milliseconds=30), "not yet")
        return rig.note(tx, message)

    rig.send(sent)
    member = rig.member(handler)
    rig.run(member, until=lambda: len(rig.worked_keys()) >= 2)
    late = [rig.event(key) for key in ("a", "d")]
    rig.send(late)
    rig.run(member, until=lambda: rig.scalar("SELECT max(attempts) FROM parked") >= 3 and len(rig.worked_keys()) >= 3)
    assert rig.worked_keys() == ["b", "c", "d"], "the partition went on while a waited"
    opened.append("a")
    rig.run(member, until=lambda: len(rig.worked_keys()) >= 7)
    of_a = [str(one.id) for one in (*sent, *late) if one.aggregateid == "a"]
    assert [one for one in rig.worked() if one in of_a] == of_a
    assert rig.scalar("SELECT count(*) FROM parked") == 0
    assert rig.dead() == []


def test_a_batch_goes_on_as_one_while_a_key_of_it_waits(rig) -> None:
    """Only the messages of that key are taken out of it: a key that waits for long makes nobody slow."""
    batches = []

    def work(tx, messages):
        batches.append([one.key for one in messages])
        for message in messages:
            if message.key != "waits":
                rig.note(tx, message)
        not_yet = RetryLater(timedelta(hours=1), "not yet")
        return {one.message_id: not_yet if one.key == "waits" else Done() for one in messages}

    member = rig.member(Subscriber(rig.name, frozenset({"payment.captured"}), work))
    rig.send([rig.event("waits")])
    rig.run(member, until=lambda: rig.committed() == 1)
    batches.clear()
    sent = [rig.event("waits" if n % 5 == 0 else str(n)) for n in range(50)]
    rig.send(sent)
    rig.run(member, until=lambda: rig.committed() == 51)
    assert [key for batch in batches for key in batch] == [
        one.aggregateid for one in sent if one.aggregateid != "waits"
    ]
    assert len(batches) < 10, "not one by one"
    waiting = rig.column("SELECT message_id FROM parked ORDER BY position")
    assert waiting[1:] == [str(one.id) for one in sent if one.aggregateid == "waits"]


def test_what_waits_is_worked_off_in_order_beside_a_busy_topic(rig) -> None:
    """Many wait for one key; the topic is never empty; both get on."""
    opened = []

    def handler(tx, message):
        if message.key == "waits" and not opened:
            return RetryLater(timedelta(milliseconds=1), "not yet")
        return rig.note(tx, message)

    member = rig.member(handler, consumer_batch=20)
    waits = [rig.event("waits") for _ in range(40)]
    rig.send(waits)
    rig.run(member, until=lambda: rig.committed() == 40)
    busy = [rig.event("busy") for _ in range(400)]
    rig.send(busy)
    opened.append(rig.name)
    rig.run(member, until=lambda: len(rig.worked()) == 440)
    assert [one for one in rig.worked() if one in {str(event.id) for event in waits}] == [str(one.id) for one in waits]
    assert rig.worked_keys()[-40:] != ["waits"] * 40, "they did not wait for the end of the topic"
    assert rig.scalar("SELECT count(*) FROM starts WHERE topic = '(parked)'") == 0


def test_a_batch_is_what_waits_and_never_more_than_the_setting(rig) -> None:
    sizes = []

    def work(tx, messages):
        sizes.append(len(messages))
        for message in messages:
            rig.note(tx, message)
        return {one.message_id: Done() for one in messages}

    member = rig.member(Subscriber(rig.name, frozenset({"payment.captured"}), work), consumer_batch=100)
    rig.run(member, until=lambda: len(rig.column("SELECT 1 FROM starts")) == 3)
    rig.send([rig.event("alone")])
    rig.run(member, until=lambda: len(rig.worked()) == 1)
    assert sizes == [1], "it waited for no second one"
    rig.send([rig.event(str(n)) for n in range(450)])
    rig.run(member, until=lambda: len(rig.worked()) == 451)
    assert max(sizes) <= 100
    assert len(sizes) <= 12, "with much waiting, batches are full or nearly so"
