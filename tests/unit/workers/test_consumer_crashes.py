"""After a crash only what may have died is suspected: in groups first, alone where a group died."""

from dataclasses import dataclass, field
from typing import Any

from paidonce.workers.consumer_crashes import GROUP, Crashes, Suspicion, deadly

BATCH = 200


@dataclass
class Place:
    partition: int
    offset: int


@dataclass
class Arrived:
    record: Place
    message_id: str = "id"

    def condemned(self, fault: str) -> str:
        return fault


@dataclass(slots=True)
class Recorded(Crashes):
    """Records the starts here instead of in the table."""

    starts: list = field(default_factory=list)

    def begin_group(self, partition: int, offset: int) -> None:
        self.starts.append(("group", partition, offset))

    def begin_alone(self, partition: int, offset: int) -> int:
        self.starts.append(("alone", partition, offset))
        return sum(one == ("alone", partition, offset) for one in self.starts)


def crashes(**suspects: Any) -> Recorded:
    made = Recorded(None, "c", "t", None, BATCH, 2)  # type: ignore[arg-type]  no table, so no engine and no session
    made.suspects = {int(name[1:]): one for name, one in suspects.items()}
    return made


def arrivals(partition: int, first: int, count: int) -> list:
    return [Arrived(Place(partition, offset)) for offset in range(first, first + count)]


def sizes(made: Crashes, records: list) -> list[int]:
    return [len(batch) for batch in made.batches(records)]


def test_without_a_crash_everything_is_one_batch() -> None:
    assert sizes(crashes(), arrivals(0, 0, 70) + arrivals(1, 0, 30)) == [100]


def test_after_a_crash_the_partition_runs_in_groups_until_a_batch_is_behind_it() -> None:
    made = crashes(p1=Suspicion(BATCH, None))
    assert sizes(made, arrivals(0, 0, 30) + arrivals(1, 0, 120)) == [GROUP, GROUP, 20, 30]
    assert made.starts == [("group", 1, 0), ("group", 1, 50), ("group", 1, 100)]
    assert sizes(made, arrivals(1, 120, 200)) == [GROUP, GROUP, 100]
    assert made.suspects == {}


def test_where_a_group_died_its_messages_run_alone_and_then_groups_again() -> None:
    made = crashes(p0=Suspicion(BATCH, begun=7))
    assert sizes(made, arrivals(0, 7, 120)) == [1] * GROUP + [GROUP, 20]
    assert made.starts[:2] == [("alone", 0, 7), ("alone", 0, 8)]


def test_a_start_that_was_finished_is_no_suspicion_of_what_follows() -> None:
    assert sizes(crashes(p0=Suspicion(BATCH, begun=7)), arrivals(0, 8, 60)) == [GROUP, 10]


def test_a_disturbed_batch_comes_again_as_suspect_as_before() -> None:
    made = crashes(p0=Suspicion(BATCH, begun=0))
    for _ in range(3):
        assert len(next(iter(made.batches(arrivals(0, 0, 9))))) == 1
    assert made.starts == [("alone", 0, 0)], "one process starts it once, however often it is disturbed"
    assert made.suspects[0].alone == GROUP


def test_a_message_that_ran_alone_too_often_is_condemned() -> None:
    made = crashes(p0=Suspicion(BATCH, begun=0))
    made.starts = [("alone", 0, 0)] * 2
    assert next(iter(made.batches(arrivals(0, 0, 9)))) == [deadly(3, 2)]
    assert (deadly(2, 2), "died each of the 2 times" in deadly(3, 2)) == ("", True)
