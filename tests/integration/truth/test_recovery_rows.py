"""Every row of the table of recovery, on real servers: what is sent again is counted and logged; nothing is lost."""

from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from paidonce.app.settings import Settings
from paidonce.devstack.kafka import start_kafka
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until
from paidonce.workers import relay_metrics
from paidonce.workers.broker_marks import Mark

#: Seconds in which a broker that keeps offsets for a minute has surely dropped them.
EXPIRED_WITHIN_S = 240.0


def again(shard: int | None = None) -> float:
    """Windows that were published although they may have been published before."""
    shards = (0, 1) if shard is None else (shard,)
    return sum(relay_metrics.WINDOWS.labels(one, "again")._value.get() for one in shards)


def warnings(logs: list[Any]) -> list[str]:
    return [str(log["because"]) for log in logs if log["event"] == "recovered_events_may_come_twice"]


def in_one_window_each(rig: Any, *firsts: int) -> list[list[str]]:
    """For each of `firsts` one window a shard, published."""
    ids = []
    for first in firsts:
        ids.append(rig.append(*rig.keys, first=first))
        rig.publish()
    return ids


def times(rig: Any) -> Counter[str]:
    """Message id -> how often it is on the topic."""
    return Counter(rig.read().ids)


def delete_topic(rig: Any, name: str) -> None:
    with rig.admin() as admin:
        admin.delete_topics([name])
        until(lambda: name not in admin.list_topics(), within_s=30, what=f"topic {name} to be gone")


@pytest.mark.slow
def test_the_newest_window_was_published_so_the_relay_goes_on(rig: Any) -> None:
    before, ids = again(), in_one_window_each(rig, 0, 10)
    with capture_logs() as logs:
        assert rig.publish() == 0
    assert (warnings(logs), again() - before) == ([], 0)
    assert rig.check_exactly_once() == sum(map(len, ids))


@pytest.mark.slow
def test_one_less_was_not_published_so_it_comes_next(rig: Any) -> None:
    before, ids = again(), in_one_window_each(rig, 0)
    ids.append(rig.append(*rig.keys, first=10))
    rig.record_only()
    with capture_logs() as logs:
        assert rig.publish() == len(rig.keys)
    assert (warnings(logs), again() - before) == ([], 0)
    assert rig.check_exactly_once() == sum(map(len, ids))


def test_kafka_went_back_in_time_so_every_window_after_its_number_comes_again(rig: Any) -> None:
    before, old = again(), in_one_window_each(rig, 0)
    marks = {shard: rig.mark(shard) for shard in (0, 1)}
    new = in_one_window_each(rig, 10, 20)
    for shard, mark in marks.items():
        rig.set_mark(shard, mark)
    with capture_logs() as logs:
        rig.publish()
    assert len(warnings(logs)) == 2
    assert all("Kafka went back in time by 1 windows" in why for why in warnings(logs))
    assert [log["log_level"] for log in logs if log["event"] == "recovered_events_may_come_twice"] == ["error"] * 2
    assert again() - before == 4, "two windows of two shards"
    assert times(rig) == Counter(dict.fromkeys(old[0], 1)) + Counter(dict.fromkeys(new[0] + new[1], 2))
    later = in_one_window_each(rig, 30)
    assert all(count == 1 for id_, count in times(rig).items() if id_ in later[0])


@pytest.mark.slow
def test_kafka_knows_nothing_of_an_idle_shard_so_its_own_word_counts(rig: Any, idle_at_once: None) -> None:
    before, ids = again(), in_one_window_each(rig, 0, 10)
    rig.forget_marks()
    with capture_logs() as logs:
        assert rig.publish() == 0
    assert (warnings(logs), again() - before) == ([], 0)
    ids += in_one_window_each(rig, 20)
    assert rig.check_exactly_once() == sum(map(len, ids))


def test_kafka_knows_nothing_of_a_busy_shard_so_what_it_may_have_comes_again(rig: Any) -> None:
    """Not marked as published in the database: sent again, counted, logged; the inbox absorbs it."""
    before, ids = again(), in_one_window_each(rig, 0, 10)
    assert not rig.is_drained(), "no shard has been idle for long enough to say so"
    rig.forget_marks()
    with capture_logs() as logs:
        assert rig.publish() == 2 * len(rig.keys)
    assert warnings(logs) == ["Kafka no longer knows what it has"] * 2
    assert again() - before == 4
    assert times(rig) == Counter(dict.fromkeys(ids[0] + ids[1], 2))


@pytest.mark.slow
def test_the_topic_of_the_marks_is_made_anew(rig: Any, idle_at_once: None) -> None:
    ids = in_one_window_each(rig, 0)
    delete_topic(rig, rig.settings.relay_name)
    ids += in_one_window_each(rig, 10)
    assert rig.check_exactly_once() == sum(map(len, ids))
    assert rig.mark(0) is not None


@pytest.mark.slow
def test_the_topic_of_the_events_is_made_anew_so_all_that_is_retained_comes_again(rig: Any) -> None:
    before, ids = again(), in_one_window_each(rig, 0, 10)
    delete_topic(rig, rig.settings.topic)
    ids.append(rig.append(*rig.keys, first=20))
    with capture_logs() as logs:
        rig.publish()
    assert all(f"topic {rig.settings.topic} was recreated" in why for why in warnings(logs))
    assert len(warnings(logs)) == 2
    assert again() - before == 4
    assert rig.check_exactly_once() == sum(map(len, ids)), "a new topic has each of them once"


@pytest.mark.slow
@pytest.mark.parametrize("other", ["number", "identity"])
def test_a_database_behind_kafka_stops_its_shard_loudly_and_no_other(rig: Any, other: str) -> None:
    ids = in_one_window_each(rig, 0)
    mark = rig.mark(0)
    assert mark is not None
    wrong = Mark(mark.number + 1, mark.identity, mark.topics) if other == "number" else rig.mark(1)
    rig.set_mark(0, wrong)
    stops = relay_metrics.STOPS.labels(0)._value.get()
    ids.append(rig.append(*rig.keys, first=10))
    of_shard_1 = rig.one("SELECT count(*) FROM outbox WHERE shard = 1 AND sequence >= 10")
    with capture_logs() as logs:
        assert rig.publish() == of_shard_1
    (stopped,) = [log for log in logs if log["event"] == "shard_stopped"]
    assert stopped["shard"] == 0
    assert "paidonce outbox repair" in stopped["error"]
    assert relay_metrics.STOPS.labels(0)._value.get() - stops == 1
    assert all(count == 1 for count in times(rig).values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_shard_idle_for_longer_than_kafka_keeps_offsets_sends_nothing_twice(
    settings: Settings, bind: Any, rig: Any, idle_at_once: None
) -> None:
    """The broker's own expiry, a minute long here."""
    keeps = {"offsets.retention.minutes": "1", "offsets.retention.check.interval.ms": "500"}
    with Run() as run:
        rig.settings = settings.model_copy(update={"kafka": start_kafka(run, properties=keeps).bootstrap})
        ids = in_one_window_each(rig, 0, 10)
        until(
            lambda: rig.mark(0) is None and rig.mark(1) is None,
            within_s=EXPIRED_WITHIN_S,
            what="Kafka to forget the group",
        )
        ids += in_one_window_each(rig, 20)
        assert rig.check_exactly_once() == sum(map(len, ids))
