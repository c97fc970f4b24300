"""A message that comes again is not done again, wherever the crash was and wherever it lies on the topic."""

import pytest
from sqlalchemy import event

from paidonce.app import steps
from paidonce.app.errors import CommitUnknownError
from paidonce.workers import consumer_member
from paidonce.workers.consumer_batch import WRITE_ANYWAY


class KilledHere(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


class Strike:
    """Raises once, before or after the step."""

    def __init__(self, step: str, when: str):
        self.step, self.when, self.fired = step, when, False

    def before(self, step):
        self._strike(step, "before")

    def after(self, step, seconds, error):
        self._strike(step, "after")

    def _strike(self, step, when):
        if (step, when) == (self.step, self.when) and not self.fired:
            self.fired = True
            raise KilledHere


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("consumer.handle", "after"),
        ("consumer.commit", "before"),
        ("consumer.commit", "after"),
        ("consumer.commit_offsets", "before"),
        ("consumer.commit_offsets", "after"),
    ],
)
def test_a_crash_at_any_step_neither_loses_nor_repeats(rig, monkeypatch, step, when) -> None:
    sent = [rig.event(str(n)) for n in range(11)]
    rig.send(sent)
    strike = Strike(step, when)
    monkeypatch.setattr(steps, "_listeners", (strike,))
    first = rig.member(consumer_batch=10)
    with pytest.raises(KilledHere):
        rig.run(first, until=lambda: False)
    rig.abandon(first)
    second = rig.member(consumer_batch=10)
    rig.run(second, until=lambda: rig.committed() == 11)
    assert strike.fired
    assert rig.worked() == [str(one.id) for one in sent]


def test_an_event_published_again_is_not_new(rig) -> None:
    sent = [rig.event(str(n)) for n in range(5)]
    rig.send(sent)
    member = rig.member()
    rig.run(member, until=lambda: rig.committed() == 5)
    rig.send(sent)
    rig.send(sent[:1], partition=1)
    rig.run(member, until=lambda: rig.committed() == 10 and rig.committed(1) == 1)
    assert rig.worked() == [str(one.id) for one in sent]


def test_an_event_twice_in_one_batch_is_done_once(rig) -> None:
    one, other = rig.event("a"), rig.event("b")
    rig.send([one, other, one, other, one])
    rig.run(rig.member(), until=lambda: rig.committed() == 5)
    assert rig.worked() == [str(one.id), str(other.id)]


def test_another_consumer_does_the_same_message_for_itself(rig) -> None:
    sent = [rig.event()]
    rig.send(sent)
    rig.run(rig.member(), until=lambda: rig.committed() == 1)
    rig.name += "-other"
    rig.run(rig.member(), until=lambda: rig.committed() == 1)
    assert rig.worked() == [str(sent[0].id)] * 2


def test_ids_that_are_not_ours_are_done_once_too(rig) -> None:
    for name in (b"evt_1", b"evt_2", b"evt_1"):
        rig.raw(b"k", b"{}", [("message-id", name), ("ce_type", b"payment.captured")])
    rig.producer.flush()
    rig.run(rig.member(), until=lambda: rig.committed() == 3)
    assert rig.worked() == ["evt_1", "evt_2"]


def test_a_commit_without_an_answer_is_asked_again_and_the_inbox_tells(rig, monkeypatch) -> None:
    """The batch comes again, is found done, and its transaction writes before the offsets follow."""
    begin, cut = consumer_member.db.begin, []

    def lose_the_answer(bind):
        class Lost:
            def __enter__(self):
                self.inner = begin(bind)
                self.tx = self.inner.__enter__()
                return self.tx

            def __exit__(self, *error):
                result = self.inner.__exit__(*error)
                if error[0] is None and not cut and rig.worked():
                    cut.append(rig.committed())
                    raise CommitUnknownError
                return result

        return Lost()

    wrote = []
    monkeypatch.setattr(consumer_member.db, "begin", lose_the_answer)
    sent = [rig.event(str(n)) for n in range(5)]
    rig.send(sent)
    member = rig.member()
    event.listen(rig.bind, "before_execute", lambda *a: wrote.append(a[1]) if a[1] is WRITE_ANYWAY else None)
    rig.run(member, until=lambda: rig.committed() == 5)
    assert cut == [None], "the commit was cut off before any offset"
    assert wrote == [WRITE_ANYWAY]
    assert rig.worked() == [str(one.id) for one in sent]
