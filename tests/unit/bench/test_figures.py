"""How does a figure look in the file, when is its target reached, and which benchmarks are there?"""

import io
import json

import pytest
from rich.console import Console

from paidonce.bench import BENCHMARKS, run
from paidonce.bench.errors import BenchError
from paidonce.bench.figures import Figure, markdown, show, write

FIGURES = [
    Figure("POST", "requests/s", 3000.0, "idemkit", 1200.0, least=2.0),
    Figure("POST p50", "ms", 4.25, "null", 3.0),
    Figure("latency p99", "ms", 31.0, "limit", 30.0, most=1.0),
]


def test_the_file_is_a_list_of_figures(tmp_path):
    write(FIGURES[:2], tmp_path / "bench.json")
    assert json.loads((tmp_path / "bench.json").read_text()) == [
        {
            "figure": "POST",
            "unit": "requests/s",
            "ours": 3000.0,
            "beside": "idemkit",
            "theirs": 1200.0,
            "ratio": 2.5,
            "target": "≥ 2",
            "reached": True,
        },
        {
            "figure": "POST p50",
            "unit": "ms",
            "ours": 4.25,
            "beside": "null",
            "theirs": 3.0,
            "ratio": 1.417,
            "target": None,
            "reached": None,
        },
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "least", "most", "reached"),
    [
        (80.0, 100.0, 0.8, None, True),
        (79.0, 100.0, 0.8, None, False),
        (8.0, 8.0, None, 1.0, True),
        (8.1, 8.0, None, 1.0, False),
        (100.0, 100.0, 0.8, 1.2, True),
        (121.0, 100.0, 0.8, 1.2, False),
        (0.0, 0.0, None, 0.0, True),
        (1.0, 0.0, None, 0.0, False),
        (1.0, 0.0, 1.0, None, True),
        (5.0, 1.0, None, None, None),
    ],
)
def test_a_target_bounds_the_ratio_on_either_side(ours, theirs, least, most, reached):
    assert Figure("f", "u", ours, "peer", theirs, least, most).reached is reached


def test_a_ratio_beside_nothing_is_none():
    assert Figure("f", "u", 1.0, "peer", 0.0).ratio is None


def test_the_table_shows_figures_and_verdicts():
    output = io.StringIO()
    show(FIGURES, Console(file=output, width=140))
    for words in ("3,000", "2.50", "4.25", "≥ 2: reached", "≤ 1: missed"):
        assert words in output.getvalue()


def test_markdown_has_a_row_for_each_figure():
    rows = markdown(FIGURES).splitlines()
    assert len(rows) == 2 + len(FIGURES)
    assert {row.count("|") for row in rows} == {8}
    assert rows[2] == "| POST | requests/s | 3,000 | idemkit | 1,200 | 2.50 | ≥ 2: reached |"


def test_a_benchmark_that_does_not_exist_is_named():
    with pytest.raises(BenchError, match="no benchmark nonsense: there are api, relay"):
        run(["nonsense"])


def test_a_benchmark_without_a_figure_takes_none_from_the_others(tmp_path, monkeypatch):
    def fails(_terms):
        raise BenchError("too slow")

    monkeypatch.setitem(BENCHMARKS, "api", fails)
    monkeypatch.setitem(BENCHMARKS, "relay", lambda _terms: FIGURES)
    with pytest.raises(BenchError, match="no figure of api: too slow"):
        run(["api", "relay"], tmp_path / "found.json")
    assert len(json.loads((tmp_path / "found.json").read_text())) == len(FIGURES)


def test_there_is_a_benchmark_for_each_promise():
    ours = ["api", "relay", "backlog", "latency", "inbox", "e2e", "token", "gateway", "outage"]
    assert list(BENCHMARKS) == ours
