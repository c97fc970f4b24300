"""What does a reader see of a run in the browser? One file, report.html: no network, no script, light and dark.

It is written beside report.json; an atlas.json and a matrix.json in the same folder are shown too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from paidonce.chaos import plan
from paidonce.chaos.checkers.verdict import Checker, Violation
from paidonce.chaos.facts import Facts, Result
from paidonce.chaos.page.heat import heat_maps
from paidonce.chaos.page.names import names, payment_of
from paidonce.chaos.page.series import series
from paidonce.chaos.page.story import Story, hardest, story
from paidonce.chaos.page.timeline import timeline
from paidonce.chaos.report import REASONS_MOST, Report, found, repeat, tried

HERE = Path(__file__).parent
FILE = "report.html"
#: Stories told in full: the first violations mostly speak of one payment.
STORIES_MOST = 3


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken promise: the smallest evidence of it, and the story of its payment unless that was told before."""

    checker: Checker
    violation: Violation
    story: Story | None


def write(folder: Path, report: Report | None = None) -> None:
    """Write the page into the folder: of a run whose evidence lies there, or of an atlas and a matrix alone."""
    (folder / FILE).write_text(html(folder, report), encoding="utf-8")


def html(folder: Path, report: Report | None = None) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = Markup((HERE / "style.css").read_text(encoding="utf-8"))  # noqa: S704  our own file
    run = None if report is None else _run(folder, report)
    return environment.get_template("report.html.jinja").render(style=style, run=run, maps=heat_maps(folder))


def _run(folder: Path, report: Report) -> dict[str, Any]:
    facts, result = report.result.facts, report.result
    measured = series(facts)
    broken = list(_broken(folder, report))
    example = None if broken else hardest(facts)
    return {
        "report": report,
        "meaning": report.meaning,
        "says": _says(result),
        "repeat": repeat(result),
        "reasons": report.reasons[:REASONS_MOST] if report.verdict == "unknown" else [],
        "broken": broken,
        "kept": sum(bool(one.examined) and not one.violations for one in report.findings),
        "timeline": timeline(measured, facts.faults) if measured else "",
        "origin": measured.origin if measured else 0.0,
        "stretch_s": measured.stretch_s if measured else 1,
        "faults": sorted(facts.faults, key=lambda fault: fault.fired_at or float("inf")),
        # The faults stand in a table of their own.
        "tried": [row for row in tried(report) if not row[0].startswith(" ")],
        "found": found(report),
        "example": story(example, facts, folder) if example else None,
    }


def _says(result: Result) -> str:
    if result.pipeline:
        return f"against {result.pipeline}"
    return plan.load(result.plan).says if result.plan in plan.names() else ""


def _broken(folder: Path, report: Report) -> Iterator[Broken]:
    facts: Facts = report.result.facts
    known, told = names(facts), set[str]()
    for checker, violation in report.smallest:
        payment = payment_of([violation.what, *violation.evidence], known)
        tell = payment is not None and payment not in told and len(told) < STORIES_MOST
        if payment is not None and tell:
            told.add(payment)
            yield Broken(checker, violation, story(payment, facts, folder, violation))
        else:
            yield Broken(checker, violation, None)
