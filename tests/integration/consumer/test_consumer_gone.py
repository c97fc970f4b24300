"""A member whose partitions were given away finishes nothing for them: neither work nor offsets."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from kafka.coordinator.base import MemberState

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.messaging import starts
from paidonce.app.messaging.handlers import Subscriber
from paidonce.app.messaging.outcomes import Done
from paidonce.workers.consumer_member import PartitionsGoneError


def stopped(process) -> bool:
    """Tell whether the process stands still (SIGSTOP)."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def holders(rig) -> list:
    return rig.column("SELECT DISTINCT holder FROM starts WHERE holder IS NOT NULL")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["stop", "between"])
def test_a_member_that_was_stopped_past_its_session_finishes_nothing(rig, start, when) -> None:
    """Stopped in its transaction, what it did is undone; stopped after it, its offsets are refused."""
    sent = [rig.event(str(n)) for n in range(20)]
    rig.send(sent)
    process = start(f"{when}:7", consumer_session_s=1.0)
    rig.until(lambda: stopped(process))
    [first] = holders(rig)
    second = rig.member(consumer_session_s=1.0)
    rig.run(second, until=lambda: holders(rig) == [second.session])
    assert first != second.session
    if when == "between":
        late = [rig.event(str(n)) for n in range(5)]
        rig.send(late)
        sent += late
        rig.run(second, until=lambda: rig.committed() == 25)
    os.kill(process.pid, signal.SIGCONT)
    rig.run(second, until=lambda: rig.committed() == len(sent) and len(holders(rig)) == 2)
    process.terminate()
    assert process.wait(timeout=30) == 0
    log = process.log.read_text()
    assert "PartitionsGoneError" in log if when == "stop" else "commit of offsets" in log, log
    assert Counter(rig.worked()) == Counter(str(one.id) for one in sent)
    assert rig.committed() == len(sent), "the offsets never went back"
    assert rig.dead() == []


def test_no_work_is_finished_once_another_holds_the_partition(rig) -> None:
    """The table tells, even while this process hears nothing from Kafka."""
    rig.send([rig.event(), rig.event()])
    other = new_id()

    def work(tx, messages):
        if not taken:
            taken.append(rig.name)
            with db.begin(rig.bind) as elsewhere:
                starts.hold(elsewhere, partitions=[0], session=other, **member.crashes.place)
        for message in messages:
            rig.note(tx, message)
        return {message.message_id: Done() for message in messages}

    taken: list[str] = []
    member = rig.member(Subscriber(rig.name, frozenset({"payment.captured"}), work))
    with pytest.raises(PartitionsGoneError):
        rig.pass_through(member)
    assert rig.worked() == []
    assert rig.committed() is None
    with pytest.raises(PartitionsGoneError):
        rig.pass_through(member)
    assert rig.column("SELECT holder FROM starts WHERE partition = 0") == [other]


def test_no_work_is_finished_when_the_group_has_gone_on_without_us(rig) -> None:
    rig.send([rig.event()])
    lost = []

    def work(tx, messages):
        if not lost:
            lost.append(member.source._consumer._coordinator.reset_generation())
        for message in messages:
            rig.note(tx, message)
        return {message.message_id: Done() for message in messages}

    member = rig.member(Subscriber(rig.name, frozenset({"payment.captured"}), work))
    with pytest.raises(PartitionsGoneError):
        rig.pass_through(member)
    assert rig.worked() == []
    assert rig.committed() is None
    rig.run(member, until=lambda: rig.committed() == 1)
    assert len(rig.worked()) == 1


@pytest.mark.slow
def test_a_client_that_hangs_in_a_rebalance_is_replaced_after_a_session(rig) -> None:
    """As kafka-python does when a poll ends while it joins: it sends no heartbeats, commits nothing, never joins."""
    member = rig.member(consumer_session_s=1.0)
    rig.send([rig.event("1")])
    rig.run(member, until=lambda: rig.committed() == 1)
    coordinator = member.source._consumer._coordinator
    coordinator.state, coordinator._heartbeat_enabled = MemberState.REBALANCING, False
    sent = [rig.event(str(n)) for n in range(5)]
    rig.send(sent)
    rig.run(member, until=lambda: rig.committed() == 6)
    assert member.source._consumer._coordinator is not coordinator
    assert rig.worked()[1:] == [str(one.id) for one in sent], "what was done meanwhile was absorbed"


@pytest.mark.slow
def test_a_member_alone_that_is_stopped_again_and_again_goes_on_by_itself(rig, start) -> None:
    """Kafka gave it up each time, and nobody else was there: it takes its partitions anew."""
    sent = [rig.event(f"{partition}-{n}") for partition in range(3) for n in range(600)]
    for partition in range(3):
        rig.send(sent[partition * 600 : partition * 600 + 600], partition)
    process = start(consumer_session_s=1.0, consumer_batch=5)
    for stop in range(1, 5):
        rig.until(lambda: len(rig.worked()) >= 300 * stop)  # noqa: B023  it is called at once
        os.kill(process.pid, signal.SIGSTOP)
        rig.until(lambda: members(rig) == 0)
        os.kill(process.pid, signal.SIGCONT)
    rig.until(lambda: len(rig.worked()) == len(sent))
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert Counter(rig.worked()) == Counter(str(one.id) for one in sent)
    assert rig.dead() == []


def members(rig) -> int:
    """Return how many members Kafka sees in the consumer's group."""
    group = f"{rig.settings.topic}-{rig.name}"
    return len(rig.admin.describe_groups([group])[group]["members"])
