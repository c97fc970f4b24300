"""Does the page say what the report says, tell the story of one payment, and take nothing of a run for markup?"""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from pydantic import ValidationError

from paidonce.chaos import page
from paidonce.chaos.facts import Drained, Facts, Fault, Result
from paidonce.chaos.page.names import names, payment_of
from paidonce.chaos.page.series import series
from paidonce.chaos.page.story import story
from paidonce.chaos.report import Report, report
from paidonce.console.scale import Scale, powers, ticks

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}"


class Tags(HTMLParser):
    """Collects the names of tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs)}


def judged(facts: Facts) -> Report:
    result = Result(
        plan="kills", seed=42, payments=2, load_s=2.0, through=2, drain_within_s=30.0, drained=Drained(0.5), facts=facts
    )
    return report(result)


def doubled(facts: Facts) -> Facts:
    first = replace(facts.charges[0], at=2.0)
    return replace(facts, charges=[first, replace(first, id="ch-2", key="charge-p-1-again", at=3.0)])


def test_a_valid_run_says_so_and_tells_of_one_payment(good: Facts, tmp_path: Path) -> None:
    text = page.html(tmp_path, judged(good))
    assert '<span class="verdict">valid</span>' in text
    assert "One payment through all of this" in text
    assert all(escape(finding.checker.promise) in text for finding in judged(good).findings)


def test_a_double_charge_is_told_with_its_payment(good: Facts, tmp_path: Path) -> None:
    text = page.html(tmp_path, judged(doubled(good)))
    assert '<span class="verdict">invalid</span>' in text
    assert text.index("payment p-1 was charged 2 times") < text.index("What was promised")
    assert text.count('class="provider evidence"') == 2
    assert text.count('<ol class="story">') == 1, "all that is broken is of one payment, told once"


def test_the_story_is_by_time_with_the_faults_between(good: Facts, tmp_path: Path) -> None:
    told = story("p-1", doubled(good), tmp_path)
    times = [line.at for line in told.lines if line.at is not None]
    assert times == sorted(times)
    places = [line.place for line in told.lines]
    assert {"request", "fault", "provider", "message", "webhook"} <= set(places)
    assert not any("p-2" in line.what for line in told.lines)


@pytest.mark.parametrize(
    ("line", "payment"),
    [
        ("refund r-1 ended as refunding", "p-1"),
        ("event e-4 is missing", "p-2"),
        ("(provider charge ch-1), again", "p-1"),
        ("#4 cancel: 500", "p-2"),
        ("key pay-s-2 got 2 answers", "p-2"),
        ("acme EUR: the sums differ", None),
    ],
)
def test_a_line_of_evidence_leads_to_its_payment(good: Facts, line: str, payment: str | None) -> None:
    assert payment_of([line], names(good)) == payment


def test_nothing_from_a_run_is_taken_for_markup(good: Facts, tmp_path: Path) -> None:
    plain = Tags()
    plain.feed(page.html(tmp_path, judged(doubled(good))))
    operations = [
        replace(op, subject=op.subject.replace("s-", HOSTILE), key=HOSTILE, error=HOSTILE, status=None)
        for op in good.operations
    ]
    payments = [
        replace(row, subject=(row.subject or "").replace("s-", HOSTILE), tenant=HOSTILE) for row in good.payments
    ]
    faults = [Fault(number=1, kind=HOSTILE, target=HOSTILE, fired_at=1.5, healed_at=1.5, back_after_s=0.1, saw=HOSTILE)]
    hostile = doubled(good)
    charges = [replace(charge, key=HOSTILE, status="captured") for charge in hostile.charges]
    facts = replace(
        hostile, operations=operations, payments=payments, faults=faults, charges=charges, dead_letters=[HOSTILE]
    )
    text = page.html(tmp_path, judged(facts))
    found = Tags()
    found.feed(text)
    assert found.found - plain.found == set()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "49" not in text.split("{{ 7*7 }}")[0][-3:]


def test_it_asks_nobody_for_anything(good: Facts, tmp_path: Path) -> None:
    text = page.html(tmp_path, judged(good))
    assert "default-src 'none'" in text
    assert [word for word in ("src=", "@import", "url(") if word in text] == []


def test_a_run_without_payments_has_a_page(tmp_path: Path) -> None:
    assert '<span class="verdict">unknown</span>' in page.html(tmp_path, judged(Facts()))


def test_the_series_count_by_the_second(good: Facts) -> None:
    found = series(replace(good, charges=[replace(good.charges[0], at=2.2)]))
    assert found is not None
    assert (found.origin, found.stretch_s) == (0.0, 1)
    assert list(found.accepted)[:5] == [1, 0, 0, 1, 0]
    assert list(found.captured)[:3] == [0, 0, 1]
    assert found.half[0] == 0.5
    assert sum(found.unanswered) == 1


def test_scales_and_their_marks() -> None:
    assert list(ticks(26.0, 4)) == [0, 10, 20]
    assert list(powers(0.001, 2.0)) == [0.001, 0.01, 0.1, 1.0]
    assert Scale(0, 10, 100, 0)(5) == 50
    assert Scale(0.001, 10, 0, 40, by_powers=True)(0.1) == 20
    assert Scale(0, 10, 0, 100)(99) == 100


def _json(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def test_an_atlas_and_a_matrix_are_shown_without_a_run(tmp_path: Path) -> None:
    strike = {"step": "relay.publish", "when": "before", "kind": "kill", "result": "valid", "why": HOSTILE}
    _json(tmp_path, "atlas.json", {"steps": ["relay.publish", "api.write"], "strikes": [strike]})
    trial = {
        "safeguard": "S7",
        "plan": "s07",
        "seed": 1,
        "result": "found",
        "checker": "one-capture",
        "evidence": HOSTILE,
    }
    missed = {**trial, "safeguard": "S8", "result": "missed"}
    control = {"safeguard": None, "plan": "s07", "seed": 1, "result": "valid"}
    _json(tmp_path, "matrix.json", {"trials": [trial, missed, control]})
    page.write(tmp_path)
    text = (tmp_path / page.FILE).read_text()
    assert "1 of 2 steps were struck, 1 runs, 0 of them invalid." in text
    assert "1 of 2 safeguards" in text
    assert "everything in place" in text
    assert "<script" not in text


def test_an_atlas_of_another_shape_is_refused(tmp_path: Path) -> None:
    _json(tmp_path, "atlas.json", {"steps": []})
    with pytest.raises(ValidationError):
        page.write(tmp_path)
