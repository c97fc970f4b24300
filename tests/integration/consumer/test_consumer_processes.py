"""Real processes: killed with SIGKILL under load, killed by a message, joined by another in the midst of it."""

import signal
from collections import Counter

import pytest

#: Seconds between two looks at a process or a table.
LOOK_S = 0.05
SIGKILLED = -signal.SIGKILL


@pytest.mark.parametrize(("when", "deaths"), [("now", 4), pytest.param("later", 2, marks=pytest.mark.slow)])
def test_a_message_that_kills_its_process_is_a_dead_letter_after_some_starts_alone(rig, start, when, deaths) -> None:
    """Once in its batch, once in a small group, twice alone; a parked one always runs alone."""
    sent = [rig.event(str(n)) for n in range(12)]
    rig.send(sent)
    codes = []
    while codes[-1:] in ([], [SIGKILLED]) and len(codes) < 6:
        process = start(killer=f"{when}:5", consumer_batch=10, consumer_alone_starts=2, consumer_session_s=1.0)
        rig.until(lambda: process.poll() is not None or (rig.committed() == 12 and rig.dead()))  # noqa: B023  called at once
        if process.poll() is None:
            rig.until(lambda: "partitions taken" in process.log.read_text())  # noqa: B023
            process.terminate()
        codes.append(process.wait(timeout=20))
    assert codes == [SIGKILLED] * deaths + [0]
    assert [(row.message_id, row.key) for row in rig.dead()] == [(str(sent[5].id), "5")]
    assert "died each of the 2 times" in rig.dead()[0].reason
    assert rig.worked_keys() == [str(n) for n in range(12) if n != 5]
    assert held(rig) == set(), "given back at the end"


@pytest.mark.slow
def test_a_kill_under_load_neither_loses_nor_repeats(rig, start) -> None:
    sent = [rig.event(f"{partition}-{n}") for partition in range(3) for n in range(200)]
    for partition in range(3):
        rig.send(sent[partition * 200 : partition * 200 + 200], partition)
    for so_far in (40, 320):
        process = start(consumer_batch=20, consumer_session_s=1.0)
        rig.until(lambda: len(rig.worked()) >= so_far)  # noqa: B023  it is called at once
        process.kill()
        assert process.wait() == SIGKILLED
    last = start(consumer_batch=20, consumer_session_s=1.0)
    rig.until(lambda: len(rig.worked()) >= 600)
    last.terminate()
    assert last.wait(timeout=20) == 0
    assert Counter(rig.worked()) == Counter(str(one.id) for one in sent)
    for partition in range(3):
        assert [key for key in rig.worked_keys() if key[0] == str(partition)] == [
            f"{partition}-{n}" for n in range(200)
        ]
    assert rig.dead() == []


@pytest.mark.slow
def test_ten_kills_in_a_row_condemn_nobody(rig, start) -> None:
    """Each at another moment: at once, in a batch, among the groups and single messages after the last one."""
    sent = [rig.event(f"{partition}-{n}") for partition in range(3) for n in range(1_000)]
    for partition in range(3):
        rig.send(sent[partition * 1_000 : partition * 1_000 + 1_000], partition)
    seen = set()
    for kill in range(10):
        process, wanted = start(consumer_batch=200, consumer_session_s=1.0), len(rig.worked()) + kill * 20
        rig.until(lambda: held(rig) - seen and len(rig.worked()) >= wanted)  # noqa: B023  it is called at once
        seen |= held(rig)
        process.kill()
        assert process.wait() == SIGKILLED
    last = start(consumer_batch=200, consumer_session_s=1.0)
    rig.until(lambda: len(rig.worked()) >= 3_000)
    last.terminate()
    assert last.wait(timeout=20) == 0
    assert Counter(rig.worked()) == Counter(str(one.id) for one in sent)
    for partition in range(3):
        keys = [key for key in rig.worked_keys() if key[0] == str(partition)]
        assert keys == [f"{partition}-{n}" for n in range(1_000)]
    assert rig.dead() == []


def test_a_second_member_takes_its_share_and_nothing_is_done_twice(rig) -> None:
    sent = [rig.event(f"{partition}-{n}") for partition in range(3) for n in range(120)]
    for partition in range(3):
        rig.send(sent[partition * 120 : partition * 120 + 60], partition)
    first = rig.member(consumer_batch=7)
    rig.run(first, until=lambda: len(rig.worked()) >= 30)
    second = rig.member(consumer_batch=7)
    together = rig.side_by_side(first, second)
    rig.until(lambda: len(held(rig)) == 2)
    for partition in range(3):
        rig.send(sent[partition * 120 + 60 : partition * 120 + 120], partition)
    rig.until(lambda: len(rig.worked()) >= 360)
    together.stop()
    rig.leave(second)
    rig.run(first, until=lambda: len(held(rig)) == 1)
    assert Counter(rig.worked()) == Counter(str(one.id) for one in sent)
    for partition in range(3):
        assert [key for key in rig.worked_keys() if key[0] == str(partition)] == [
            f"{partition}-{n}" for n in range(120)
        ]
    assert first.crashes.suspects == {}, "what is given back cleanly is under no suspicion"


def held(rig) -> set:
    return set(rig.column("SELECT holder FROM starts WHERE holder IS NOT NULL"))
