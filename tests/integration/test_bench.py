"""Does the benchmark of the API run from start to end, on real servers, and write what it says?"""

import json

import pytest

from paidonce import bench
from paidonce.bench import api


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_of_the_api(tmp_path, monkeypatch):
    for name, value in {"ROUNDS": 1, "ROUND_S": 1.0, "WARM_S": 0.5}.items():
        monkeypatch.setattr(api, name, value)
    bench.run(["api"], tmp_path / "bench.json")
    rows = json.loads((tmp_path / "bench.json").read_text())
    posts = {row["beside"]: row for row in rows if row["figure"] == "POST"}
    assert set(posts) == {"null", "idemkit"}
    for row in rows:
        assert row["ours"] > 0
        assert row["ratio"] == pytest.approx(row["ours"] / row["theirs"], abs=0.001)
    assert {row["figure"] for row in rows} == {
        f"{name}{part}" for name in ("POST", "replay") for part in ("", " p50", " p99")
    }
