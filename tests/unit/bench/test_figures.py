"""How does a figure look in the file, and which benchmarks are there?"""

import io
import json

import pytest
from rich.console import Console

from paidonce.bench import run
from paidonce.bench.errors import BenchError
from paidonce.bench.figures import Figure, show, write

FIGURES = [Figure("POST", "requests/s", 3000.0, "idemkit", 1200.0), Figure("POST p50", "ms", 4.0, "null", 3.0)]


def test_the_file_is_a_list_of_figures(tmp_path):
    write(FIGURES, tmp_path / "bench.json")
    assert json.loads((tmp_path / "bench.json").read_text()) == [
        {"figure": "POST", "unit": "requests/s", "ours": 3000.0, "beside": "idemkit", "theirs": 1200.0, "ratio": 2.5},
        {"figure": "POST p50", "unit": "ms", "ours": 4.0, "beside": "null", "theirs": 3.0, "ratio": 1.333},
    ]


def test_the_table_shows_them():
    output = io.StringIO()
    show(FIGURES, Console(file=output, width=120))
    assert "3,000.0" in output.getvalue()
    assert "2.50" in output.getvalue()


def test_a_benchmark_that_does_not_exist_is_named():
    with pytest.raises(BenchError, match="no benchmark nonsense: there are api"):
        run(["nonsense"])
