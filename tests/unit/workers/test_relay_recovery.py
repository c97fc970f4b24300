"""Every row of the table that says what was published (docs/design.md, "Relay")."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from paidonce.workers.broker_marks import Mark
from paidonce.workers.relay_recovery import Decision, ShardStoppedError, decide
from paidonce.workers.windows import POSITION_MAX, Window

TOPICS = {"payments": "id-1"}
IDENTITIES = {number: uuid4() for number in range(1, 8)}


def window(number: int, *, published: bool = False) -> Window:
    at = datetime.now(UTC) if published else None
    return Window(0, number, 1, "1:1:", "9:9:", 0, POSITION_MAX, IDENTITIES[number], at)


def asked(
    mark: Mark | None, newest: Window | None, topics: dict[str, str] = TOPICS, last_published: int = 0
) -> Decision:
    def retained(number: int) -> UUID | None:
        return IDENTITIES[number] if newest is not None and number <= newest.number else None

    return decide(mark, newest, topics, identity_of=retained, last_published=lambda: last_published)


def kafka(number: int, topics: dict[str, str] = TOPICS) -> Mark:
    return Mark(number, IDENTITIES[number], topics)


def test_nothing_anywhere_is_a_beginning() -> None:
    assert asked(None, None) == Decision(1)


def test_the_newest_window_with_its_identity_was_published() -> None:
    assert asked(kafka(4), window(4)) == Decision(5)


def test_one_less_is_published_next() -> None:
    assert asked(kafka(3), window(4)) == Decision(4)


def test_two_less_is_kafka_back_in_time() -> None:
    decision = asked(kafka(2), window(4))
    assert (decision.next_number, decision.loud) == (3, True)
    assert "Kafka went back in time" in str(decision.twice)


def test_nothing_at_kafka_trusts_the_mark_of_an_idle_shard() -> None:
    assert asked(None, window(4, published=True)) == Decision(5)


def test_nothing_at_kafka_and_no_mark_publishes_again_after_the_last_one_marked() -> None:
    decision = asked(None, window(4), last_published=2)
    assert (decision.next_number, decision.loud) == (3, True)
    assert decision.twice is not None


def test_a_first_window_that_nobody_knows_is_no_alarm() -> None:
    decision = asked(None, window(1))
    assert (decision.next_number, decision.loud) == (1, False)


def test_a_recreated_topic_gets_everything_again() -> None:
    decision = asked(kafka(4), window(4), {"payments": "id-2"})
    assert (decision.next_number, decision.loud) == (1, True)
    assert "payments" in str(decision.twice)


def test_a_higher_number_stops_the_shard() -> None:
    with pytest.raises(
        ShardStoppedError, match=r"window 5, the database only 4.*`paidonce outbox repair`.*docs/operations\.md"
    ):
        asked(kafka(5), window(4))


def test_a_mark_without_any_window_stops_the_shard() -> None:
    with pytest.raises(ShardStoppedError, match=r"docs/operations\.md"):
        asked(kafka(1), None)


def test_another_identity_under_the_same_number_stops_the_shard() -> None:
    with pytest.raises(ShardStoppedError, match="the database as"):
        asked(Mark(4, uuid4(), TOPICS), window(4))


def test_another_identity_of_an_older_window_stops_the_shard_too() -> None:
    with pytest.raises(ShardStoppedError):
        asked(Mark(3, uuid4(), TOPICS), window(4))


def test_a_database_back_in_time_weighs_more_than_a_recreated_topic() -> None:
    with pytest.raises(ShardStoppedError):
        asked(kafka(5), window(4), {"payments": "id-2"})
