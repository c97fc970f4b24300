"""A relay that is started before its servers waits for them; what it measures is true meanwhile."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from paidonce.devstack.ports import free_port


def address(netloc: str) -> tuple[str, int]:
    host, _, port = netloc.rpartition(":")
    return host, int(port)


@pytest.mark.slow
def test_before_kafka(
    fleet: Any, way: Callable[[int, tuple[str, int]], Any], metrics: Callable[[int], dict[str, float]]
) -> None:
    door, port = way(free_port(), address(fleet.settings.kafka)), free_port()
    relay = fleet.start(kafka=f"127.0.0.1:{door.port}", metrics_port=port, relay_window_events=2)
    for _ in range(2):
        fleet.write()
    waiting = [f'paidonce_relay_backlog_events{{shard="{shard}"}}' for shard in (0, 1)]
    fleet.until(lambda: sum(metrics(port).get(name, 0) for name in waiting) == len(fleet.sent), "what waits is seen")
    seen = metrics(port)
    assert all(seen[f'paidonce_relay_oldest_event_age_seconds{{shard="{shard}"}}'] > 0 for shard in (0, 1))
    assert seen["paidonce_relay_shards_owned"] == 2
    assert seen['paidonce_relay_lease_changes_total{change="acquired"}'] == 2

    door.open()
    fleet.until_published()
    fleet.until(lambda: sum(metrics(port)[name] for name in waiting) == 0, "nothing waits any more")
    seen = metrics(port)
    assert all(seen[f'paidonce_relay_oldest_event_age_seconds{{shard="{shard}"}}'] == 0 for shard in (0, 1))
    assert sum(seen[f'paidonce_relay_events_total{{shard="{shard}"}}'] for shard in (0, 1)) == len(fleet.sent)
    published = sum(seen[f'paidonce_relay_windows_total{{outcome="published",shard="{shard}"}}'] for shard in (0, 1))
    assert published == seen["paidonce_relay_window_events_count"] >= len(fleet.sent) / 2
    assert seen["paidonce_relay_window_events_sum"] == len(fleet.sent)
    assert not any('outcome="again"' in name for name in seen)
    assert relay.process.poll() is None
    fleet.check_exactly_once()


@pytest.mark.slow
def test_before_postgresql(fleet: Any, way: Callable[[int, tuple[str, int]], Any]) -> None:
    there = urlsplit(fleet.settings.dsn.get_secret_value())
    door = way(free_port(), (there.hostname or "", there.port or 0))
    netloc = f"{there.username}:{there.password}@127.0.0.1:{door.port}"
    relay = fleet.start(dsn=type(fleet.settings.dsn)(there._replace(netloc=netloc).geturl()))
    fleet.write()
    assert not fleet.owned()
    door.open()
    fleet.until_published()
    assert relay.process.poll() is None
    fleet.check_exactly_once()
