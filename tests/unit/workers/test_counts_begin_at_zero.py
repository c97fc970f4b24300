"""What an alert must not miss is there before it happens: `increase` sees nothing in a series that begins at 1."""

import subprocess
import sys

import pytest

PROGRAM = """
from prometheus_client import generate_latest
from paidonce.app.idempotency import guard
from paidonce.workers import effects_meter, relay_metrics
relay_metrics.know(2)
effects_meter.know("webhook")
print(generate_latest().decode())
"""


@pytest.fixture(scope="module")
def served() -> str:
    """What /metrics says of a process that has done nothing."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.mark.parametrize(
    "series",
    [
        'paidonce_idempotent_requests_total{outcome="expired"}',
        'paidonce_idempotent_requests_total{outcome="reused"}',
        'paidonce_relay_shard_stops_total{shard="1"}',
        'paidonce_relay_recoveries_total{shard="1",twice="yes"}',
        'paidonce_effects_ended_total{kind="webhook",state="refused"}',
    ],
)
def test_it_is_there_before_it_happens(served: str, series: str) -> None:
    assert f"{series} 0.0" in served.splitlines()
