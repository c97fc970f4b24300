"""The brake stops every member of a consumer, across restarts, until a person lets go."""

from datetime import timedelta

import pytest
from typer.testing import CliRunner

from paidonce.app.audit import By
from paidonce.app.messaging.outcomes import RetryLater
from paidonce.cli import app
from paidonce.workers import brake, dead_letters, status
from paidonce.workers.brake import NotEngagedError
from paidonce.workers.consumer_brake import BrakedError

BY = By("ann", "command line", "a test")

WINDOW = {"brake_window": 10, "consumer_batch": 20}


def poison(tx, message):
    return 1 / 0


def stop(rig) -> None:
    """Let a bad deploy engage the brake at the tenth message."""
    bad = rig.member(poison, **WINDOW)
    with pytest.raises(BrakedError, match=f"10 of the last 10 .* paidonce brake release {rig.name}"):
        rig.pass_through(bad)
    rig.leave(bad)


def test_a_bad_deploy_stops_the_consumer_until_it_is_released(rig) -> None:
    """The member that goes on is a new one, and was a sound one all the time: the row stopped it."""
    sent = [rig.event(str(n)) for n in range(41)]
    rig.send(sent)
    stop(rig)
    assert len(rig.dead()) == 10
    assert rig.committed() == 10
    mended = rig.member(**WINDOW)
    for _ in range(3):
        with pytest.raises(BrakedError):
            mended.run_once()
    assert rig.worked() == []
    assert [one.consumer for one in brake.engaged(rig.bind)] == [rig.name]
    [stands] = [one for one in status.read(rig.settings).consumers if one.name == rig.name]
    assert "ZeroDivisionError" in stands.brake
    brake.release(rig.bind, rig.settings, rig.name, BY)
    rig.run(mended, until=lambda: rig.committed() == 41)
    assert rig.worked() == [str(one.id) for one in sent[10:]]
    assert len(rig.dead()) == 10


def test_every_member_stops_and_goes_on(rig) -> None:
    """One member has the poison, the other has sound partitions only, and stops all the same."""

    def mixed(tx, message):
        return poison(tx, message) if message.key == "bad" else rig.note(tx, message)

    first, second = rig.member(mixed, **WINDOW), rig.member(mixed, **WINDOW)
    together = rig.side_by_side(first, second)
    rig.until(lambda: len(rig.column("SELECT DISTINCT holder FROM starts WHERE holder IS NOT NULL")) == 2)
    with_poison = rig.scalar("SELECT partition FROM starts WHERE holder = :id", id=first.session)
    sound = rig.scalar("SELECT partition FROM starts WHERE holder = :id", id=second.session)
    rig.send([rig.event("bad") for _ in range(10)], with_poison)
    rig.until(lambda: first.braked is not None and second.braked is not None)
    rig.send([rig.event(str(n)) for n in range(5)], sound)
    looked = second.look_at
    rig.until(lambda: second.look_at > looked)
    assert rig.worked() == []
    brake.release(rig.bind, rig.settings, rig.name, BY)
    rig.send([rig.event("bad")], with_poison)
    rig.until(lambda: len(rig.worked()) == 5 and len(rig.dead()) == 11)
    together.stop()
    assert (first.braked, second.braked) == (None, None), "one more bad message finds an empty window"


@pytest.mark.parametrize("alone", [False, True])
def test_a_brake_that_engages_among_suspects_leaves_the_rest_of_the_poll_alone(rig, alone) -> None:
    """After a crash a poll is done in several transactions; those after the brake must not go on."""
    rig.send([rig.event(str(n)) for n in range(120)])
    crashed = rig.member()
    crashed.crashes.take(frozenset({0, 1, 2}))
    if alone:
        crashed.crashes.begin_group(0, 0)
    rig.abandon(crashed)
    bad = rig.member(poison, brake_window=10)
    bad.pace.most = 120
    with pytest.raises(BrakedError):
        rig.pass_through(bad)
    assert len(rig.dead()) == 10
    assert rig.committed() == 10
    rig.leave(bad)
    brake.release(rig.bind, rig.settings, rig.name, BY)
    rig.run(rig.member(), until=lambda: rig.committed() == 120)
    assert rig.worked_keys() == [str(n) for n in range(10, 120)]


@pytest.mark.slow
def test_poison_among_what_waited_stops_the_consumer_too(rig) -> None:
    """Put off one and all, then poison: most of them stay where they wait."""
    later = rig.member(lambda *_: RetryLater(timedelta(), "not yet"))
    rig.send([rig.event(str(n)) for n in range(30)])
    rig.run(later, until=lambda: rig.committed() == 30)
    rig.leave(later)
    with pytest.raises(BrakedError, match="10 of the last 10"):
        rig.pass_through(rig.member(poison, **WINDOW))
    assert len(rig.dead()) == 10
    assert rig.scalar("SELECT count(*) FROM parked") == 20
    brake.release(rig.bind, rig.settings, rig.name, BY)
    rig.run(rig.member(**WINDOW), until=lambda: len(rig.worked()) == 20)


@pytest.mark.slow
def test_letters_that_are_redriven_in_vain_stop_nobody(rig) -> None:
    """They were dead before, so a brake would save nothing, and stop what is sound."""
    bad = rig.member(poison, brake_window=1_000)
    rig.send([rig.event(str(n)) for n in range(15)])
    rig.run(bad, until=lambda: len(rig.dead()) == 15)
    rig.leave(bad)
    again = rig.member(poison, **WINDOW)
    assert len(list(dead_letters.redrive_all(rig.bind, rig.settings, rig.name, BY))) == 15
    rig.run(again, until=lambda: rig.scalar("SELECT count(*) FROM dead_letters WHERE state = 'dead'") == 15)
    assert (again.braked, brake.engaged(rig.bind)) == (None, [])
    rig.send([rig.event(str(n)) for n in range(10)])
    with pytest.raises(BrakedError):
        rig.pass_through(again)


def test_releasing_what_does_not_stand_still_says_so(rig) -> None:
    rig.send([rig.event(str(n)) for n in range(10)])
    stop(rig)
    with pytest.raises(NotEngagedError, match=f"no consumer 'nobody' ever ran here; standing still: {rig.name}; ever"):
        brake.release(rig.bind, rig.settings, "nobody", BY)
    brake.release(rig.bind, rig.settings, rig.name, BY)
    with pytest.raises(NotEngagedError, match=f"{rig.name} does not stand still"):
        brake.release(rig.bind, rig.settings, rig.name, BY)


def test_the_commands_list_and_release(rig, monkeypatch) -> None:
    monkeypatch.setattr("paidonce.app.settings.settings", lambda: rig.settings)
    run = CliRunner()
    assert "no consumer stands still" in run.invoke(app, ["brake", "list"]).output
    rig.send([rig.event(str(n)) for n in range(10)])
    stop(rig)
    assert "10 of the last 10 messages were poison" in run.invoke(app, ["brake", "list"]).output
    assert f'"consumer":"{rig.name}"' in run.invoke(app, ["brake", "list", "--json"]).output
    assert run.invoke(app, ["brake", "release", rig.name]).output == f"{rig.name} goes on\n"
    again = run.invoke(app, ["brake", "release", rig.name])
    assert (again.exit_code, type(again.exception)) == (1, NotEngagedError)
