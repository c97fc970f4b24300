"""A batch is done once, together where it can be, and one bad message never harms its neighbours."""

from datetime import timedelta

from paidonce.app.messaging.outcomes import Poison, RetryLater


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
    sent = [rig.event(key) for key in ("a", "b", "a", "c", "a")]
    refusals = iter([True, True])

    def handler(tx, message):
        if message.message_id == str(sent[0].id) and next(refusals, False):
            return RetryLater(timedelta(milliseconds=300), "not yet")
        return rig.note(tx, message)

    rig.send(sent)
    member = rig.member(handler)
    rig.run(member, until=lambda: len(rig.worked_keys()) >= 2)
    assert rig.worked_keys() == ["b", "c"]
    late = [rig.event(key) for key in ("a", "d")]
    rig.send(late)
    rig.run(member, until=lambda: len(rig.worked_keys()) >= 7)
    of_a = [str(one.id) for one in (*sent, *late) if one.aggregateid == "a"]
    assert [one for one in rig.worked() if one in of_a] == of_a
    assert rig.worked_keys()[2] == "d", "the partition went on while a waited"
    assert rig.scalar("SELECT count(*) FROM parked") == 0
    assert rig.dead() == []
