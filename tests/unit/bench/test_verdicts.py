"""Do the benchmarks make the figures that are promised from what they measured?"""

import pytest

from paidonce.bench import backlog, inbox, latency, relay
from paidonce.bench.broker import Series
from paidonce.bench.errors import BenchError
from paidonce.bench.grounds import Drain

CPU = {"it": 4.0, "PostgreSQL": 1.0, "Kafka": 2.0}


def rounds(*rates: float, events: int = 200_000, dead: int = 0) -> list[relay.Round]:
    return [relay.Round(Drain(events, events / rate, CPU, 100.0), dead) for rate in rates]


def by_peer(figures):
    return {(figure.figure, figure.beside): figure for figure in figures}


def test_the_relay_stands_beside_each_peer_with_the_median_of_its_rounds():
    found = by_peer(
        relay._figures(
            {
                "ours": rounds(30_000, 20_000, 40_000),
                "kafka-python": rounds(35_000, 36_000, 37_000),
                "faststream": rounds(2_000, 2_100, 1_900, events=20_000, dead=30_000),
                "ours with librdkafka": rounds(99_000, 90_000, 120_000),
            }
        )
    )
    assert next(iter(found)) == ("relay", "kafka-python")
    assert found["relay", "kafka-python"].ours == 30_000
    assert found["relay", "kafka-python"].ratio == 0.833
    assert found["relay", "kafka-python"].reached
    assert found["relay", "faststream"].ratio == 15
    assert found["relay", "faststream"].reached
    assert found["relay librdkafka", "limit"].reached is False
    assert found["relay n_dead_tup", "faststream"].theirs == 150_000
    assert found["relay n_dead_tup", "faststream"].reached
    assert found["relay CPU", "kafka-python"].ours == 2.0
    assert ("relay memory", "kafka-python") not in found, "it holds all events in memory"


def test_one_dead_row_misses_the_target():
    figures = relay._figures(
        {"ours": rounds(1, dead=1), "kafka-python": rounds(1), "faststream": rounds(1, dead=400_000)}
    )
    assert by_peer(figures)["relay n_dead_tup", "faststream"].reached is False


def test_the_backlog_may_differ_by_a_fifth():
    rates = {"few": [30_000.0], "many": [25_000.0], "open": [20_000.0]}
    many, behind, memory = backlog._figures(rates, {"few": 100.0, "many": 119.0})
    assert (many.reached, behind.reached, memory.reached) == (True, False, True)


def test_delays_are_from_commit_to_readable_and_those_of_the_warm_up_do_not_count():
    written = {"seconds": 2.0, "committed": {"c": 3_000_000, "a": 1_000_000, "b": 2_000_000}}
    found = latency.delays_of(written, {"a": 90_000_000, "b": 7_000_000, "c": 5_500_000}, 1)
    assert found.ms == [5.0, 2.5]
    assert found.rate == 1.5


def test_an_event_that_never_came_is_no_figure():
    with pytest.raises(BenchError, match="1 of 2 events could not be read"):
        latency.delays_of({"seconds": 1.0, "committed": {"a": 1, "b": 2}}, {"a": 3}, 0)


def test_each_load_has_its_rate_and_two_percentiles():
    delays = {500: latency.Delays(499.0, [float(ms) for ms in range(1, 101)]), 5: latency.Delays(5.0, [9.0])}
    found = by_peer(latency.figures_of(latency.Found(delays, 0.9), None))
    assert list(found) == [
        ("latency", "asked"),
        ("latency p50", "limit"),
        ("latency p99", "limit"),
        ("latency 5/s", "asked"),
        ("latency 5/s p50", "limit"),
        ("latency 5/s p99", "limit"),
        ("latency idle", "limit"),
    ]
    assert (found["latency p50", "limit"].ours, found["latency p99", "limit"].ours) == (50.0, 99.0)
    assert found["latency 5/s p50", "limit"].reached is False
    assert found["latency 5/s p99", "limit"].reached is True
    assert found["latency idle", "limit"].reached is True


def test_a_peer_stands_beside_each_percentile():
    ours, theirs = (
        latency.Found({500: latency.Delays(500.0, [ms])}, idle_s) for ms, idle_s in ((5.0, 0.5), (10.0, 5.0))
    )
    found = by_peer(latency.figures_of(ours, theirs))
    assert found["latency p50", "debezium"].ratio == found["latency p99", "debezium"].ratio == 0.5
    assert found["latency idle", "debezium"].ratio == 0.1


def test_the_inbox_stands_beside_its_peer_and_its_limit():
    made = {"one row": 21_000.0, "ledger": 15_000.0, "one transaction": 2_100.0}
    found = by_peer(inbox._figures({name: [inbox.Round(rate, 5.0, 100.0)] for name, rate in made.items()}))
    assert next(iter(found)) == ("inbox", "one transaction")
    assert found["inbox", "one transaction"].ratio == 10
    assert found["inbox", "limit"].reached
    assert found["inbox ledger", "one transaction"].ours == 15_000


def test_a_series_tells_when_an_offset_was_readable():
    series = Series([(1.0, 0), (2.0, 50), (3.0, 120)])
    assert (series.when(50), series.when(51), series.last) == (2.0, 3.0, 120)
    with pytest.raises(BenchError, match="reached 120, not 121"):
        series.when(121)
