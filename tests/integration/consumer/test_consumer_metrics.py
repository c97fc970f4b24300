"""What a consumer process tells of itself: /metrics, /readyz and its log."""

from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from paidonce.app.audit import By
from paidonce.devstack.ports import free_port
from paidonce.workers import brake

BY = By("ann", "command line", "a test")


def get(port: int, path: str) -> tuple[int, str]:
    """Return status and body; 0 while nobody listens."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def series(port: int) -> dict[str, float]:
    """Return the consumer's series by name and labels."""
    lines = [line.rpartition(" ") for line in get(port, "/metrics")[1].splitlines() if line.startswith("paidonce_cons")]
    return {name: float(value) for name, _, value in lines}


@pytest.mark.slow
def test_a_process_measures_what_it_does_and_says_when_it_stands_still(rig, start) -> None:
    metrics, ready = free_port(), free_port()
    sent = [rig.event(str(n)) for n in range(30)]
    rig.send(sent)
    rig.send(sent[:4])
    process = start("poison:bad", metrics_port=metrics, worker_port=ready, brake_window=10)
    rig.until(lambda: rig.committed() == 34 and get(ready, "/readyz")[0] == 200)
    one = f'consumer="{rig.name}"'
    rig.until(lambda: series(metrics).get(f'paidonce_consumer_lag_records{{{one},partition="0"}}') == 0)
    found = series(metrics)
    assert found[f'paidonce_consumer_messages_total{{{one},outcome="done"}}'] == 30
    assert found[f'paidonce_consumer_messages_total{{{one},outcome="duplicate"}}'] == 4
    assert found[f'paidonce_consumer_messages_total{{{one},outcome="poison"}}'] == 0
    assert found[f"paidonce_consumer_batch_messages_sum{{{one}}}"] == 34
    assert found[f"paidonce_consumer_rebalances_total{{{one}}}"] >= 1
    assert found[f"paidonce_consumer_redelivered_total{{{one}}}"] == 0
    assert found[f"paidonce_consumer_brake_engaged{{{one}}}"] == 0
    assert found[f"paidonce_consumer_parked_messages{{{one}}}"] == 0
    rig.send([rig.event("bad") for _ in range(12)])
    rig.until(
        lambda: get(ready, "/readyz")[0] == 503 and series(metrics)[f"paidonce_consumer_brake_engaged{{{one}}}"] == 1
    )
    assert series(metrics)[f'paidonce_consumer_messages_total{{{one},outcome="poison"}}'] == len(rig.dead())
    brake.release(rig.bind, rig.settings, rig.name, BY)
    rig.until(lambda: rig.committed() == 46 and get(ready, "/readyz")[0] == 200)
    process.terminate()
    assert process.wait(timeout=30) == 0
    log = process.log.read_text()
    assert "brake engaged" in log
    assert f"paidonce brake release {rig.name}" in log
    assert "brake released" in log
