"""What a repair says of a shard: what would be done, and what that means, for each thing that contradicts another."""

import pytest

from paidonce.workers.broker_marks import Mark
from paidonce.workers.outbox_repair import COUNTED_MOST, Contradiction, Finding
from paidonce.workers.outbox_repair_mend import NO_IDENTITY, _mark


def finding(*contradictions: Contradiction, events_after: int = 5, mark: Mark | None = None) -> Finding:
    return Finding(1, 9, 7, [*contradictions], [], 6, events_after, mark, None)


@pytest.mark.parametrize(
    ("contradictions", "done"),
    [
        (["kafka-ahead"], ["set Kafka's mark of shard 1 from window 9 to 6"]),
        (["other-identity"], ["set Kafka's mark of shard 1 from window 9 to 6"]),
        (["transaction-ids-behind"], ["transaction ids that fit this server"]),
        (["other-server"], ["transaction ids that fit this server", "record this server"]),
        (["kafka-ahead", "other-server"], ["transaction ids that fit", "record this server", "set Kafka's mark"]),
    ],
)
def test_what_would_be_done(contradictions: list[Contradiction], done: list[str]) -> None:
    remedy = finding(*contradictions).remedy
    assert len(remedy) == len(done)
    assert all(part in said for part, said in zip(done, remedy, strict=True))


def test_what_it_means_tells_of_what_comes_again_and_of_what_is_lost() -> None:
    again, lost, consumers = finding("kafka-ahead").consequences
    assert "5 events of shard 1" in again
    assert "compare with the provider's records" in lost
    assert "paidonce outbox replay" in consumers
    assert len(finding("other-server").consequences) == 1
    assert f"{COUNTED_MOST} or more" in finding("other-server", events_after=COUNTED_MOST).consequences[0]


def test_a_mark_that_is_right_stays_as_it_is_with_its_topics() -> None:
    mark = Mark(6, NO_IDENTITY, {"payments": "id"})
    assert _mark(finding("other-server", mark=mark)) is mark
    ahead = Mark(9, NO_IDENTITY, {"payments": "id"})
    assert _mark(finding("kafka-ahead", mark=ahead)) == Mark(6, NO_IDENTITY, {"payments": "id"})
    assert _mark(finding("other-server")) == Mark(6, NO_IDENTITY, {})
