"""Does docs/security.md name tests that exist? A defence whose test was renamed would be a claim and no more."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs/security.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) > 20
    assert named - there == set()


def test_every_file_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs/security.md").read_text()
    named = re.findall(r"`((?:tests|app)/[\w/.]+)`", page)
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
