"""What a look says needs a person, and how figures become lines: pure, without a server."""

from datetime import UTC, datetime, timedelta

import pytest

from paidonce.app.clock import SystemClock
from paidonce.app.settings import Settings
from paidonce.console.concerns import concerns
from paidonce.console.plots import plots, reach
from paidonce.console.probes import Probe
from paidonce.console.watch import POINTS_MOST, Look, Point, Watch
from paidonce.workers import status as statuses
from paidonce.workers.leases import Holder
from paidonce.workers.status import Consumer, DeadLetters, Shard, Status

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HELD = [Holder("cleaner", "a", 1, 5.0), Holder("relay-shard-0", "b", 1, 5.0)]


def look(*, probes: tuple[Probe, ...] = (Probe("relay", ready=True),), **changes: object) -> Look:
    well = {
        "outbox": [Shard(0, 3, 7, 7)],
        "consumers": [Consumer("ledger", 0, 0, None, None, "payments")],
        "effects": {"pending": 2},
        "dead_letters": [DeadLetters("ledger", "done", 4)],
        "leases": HELD,
        "kafka_error": None,
    }
    return Look(NOW, Status(**(well | changes)), None, list(probes), [Probe("PostgreSQL", ready=True)])  # type: ignore[arg-type]


def test_when_all_is_well_nobody_is_called() -> None:
    assert concerns(look(), NOW, 5.0) == []


@pytest.mark.parametrize(
    ("changes", "level", "what"),
    [
        ({"probes": (Probe("relay", ready=False, said="not ready (503)"),)}, "bad", "relay: not ready (503)"),
        ({"consumers": [Consumer("ledger", 0, 0, None, "poison", "payments")]}, "bad", "ledger stands still: poison"),
        ({"leases": HELD[:1]}, "bad", "no relay publishes shard 0"),
        ({"leases": HELD[1:]}, "doubt", "no cleaner holds its lease"),
        ({"leases": [Holder("cleaner", "a", 1, -3.0), HELD[1]]}, "doubt", "no cleaner holds its lease"),
        ({"effects": {"unknown": 2}}, "doubt", "2 effects are unknown"),
        ({"dead_letters": [DeadLetters("ledger", "dead", 1)]}, "doubt", "1 dead letter waits"),
    ],
)
def test_each_thing_that_does_not_mend_itself_is_named(changes: dict, level: str, what: str) -> None:
    [found] = concerns(look(**changes), NOW, 5.0)
    assert (found.level, found.what.startswith(what)) == (level, True), found.what


def test_what_is_wrong_stands_before_what_waits_and_old_figures_are_called_old() -> None:
    seen = look(effects={"unknown": 1}, leases=HELD[:1])
    found = concerns(seen, NOW + timedelta(seconds=60), 5.0)
    assert [one.level for one in found] == ["bad", "doubt", "doubt"]
    assert "60 s old" in " ".join(one.what for one in found)


def test_a_line_breaks_where_nobody_could_say() -> None:
    values = [1, 2, None, 4]
    points = [Point(NOW + timedelta(seconds=5 * n), waiting=value) for n, value in enumerate(values)]
    outbox, lag, *_ = plots(points)
    assert outbox.line.count('class="line"') == 2
    assert lag.line.count('class="line"') == 0
    assert (outbox.now, outbox.most, lag.most) == (4, 4, None)
    assert "Outbox: 4 now, 4 at most in 15 s" in outbox.line
    assert reach(points) == "15 s"
    assert plots([]) == []


def test_the_past_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(Settings(), SystemClock())
    monkeypatch.setattr(statuses, "read", lambda _settings, *, ended: look().status)
    monkeypatch.setattr("paidonce.workers.doctor_checks.valkey", lambda _settings: "answers")
    for _ in range(POINTS_MOST + 5):
        watch.look()
    assert len(watch.points()) == POINTS_MOST
