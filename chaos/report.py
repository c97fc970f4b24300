"""What does a reader see who has never seen the project? What was tried, what was found, the verdict, where to look.

The same rows go to the terminal, to report.md and, as figures, to report.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paidonce.chaos.checkers import applicable, not_looked_at
from paidonce.chaos.checkers.verdict import Checker, Finding, Verdict, Violation, judge, smallest, verdict
from paidonce.chaos.facts import Drained, Result
from paidonce.chaos.tally import tally

#: Lines of evidence shown for each broken promise; the whole of it is in report.json.
EVIDENCE_LINES_MOST = 8
#: Broken promises and reasons that are shown at most.
REASONS_MOST = 10

NEXT = (
    ("where a double charge is prevented", "the table of safeguards in README.md, each with its file"),
    ("what a run consists of", "chaos/intents.py (load), chaos/plans/ (faults), chaos/checkers/ (promises)"),
    ("the same pipeline to play with", "make up"),
)

NEXT_OF_YOURS = (("what a verdict means, and what is not seen", "docs/chaos-your-own.md"),)

#: Seconds below which a fault was over at once.
MOMENT_S = 0.05

#: Rows about what only our own pipeline shows, or is asked for.
OF_OURS = frozenset({"other payload", "cancels, refunds", "refunds", "events", "duplicates absorbed", "ledger"})

Row = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """A judged run."""

    result: Result
    findings: Sequence[Finding]
    verdict: Verdict
    reasons: Sequence[str]
    figures: Mapping[str, Any]

    @property
    def not_looked_at(self) -> Sequence[Checker]:
        """Promises of ours of which the run says nothing, because the pipeline is not ours."""
        return not_looked_at(self.result)

    @property
    def meaning(self) -> str:
        """What the verdict means, in a sentence."""
        if self.result.pipeline and self.verdict == "valid":
            return "every promise that was looked at was kept, under every fault."
        return MEANING[self.verdict]

    @property
    def smallest(self) -> list[tuple[Checker, Violation]]:
        """The smallest evidence for each broken promise."""
        return smallest(self.findings)


def report(result: Result) -> Report:
    """Judge a run."""
    findings = [*judge(result.facts, applicable(result)), _drained(result)]
    said, reasons = verdict(findings, result.facts)
    if said != "invalid" and result.through < result.payments:
        reasons = [*reasons, f"the clients were through with {result.through} of {result.payments} payments only"]
        said = "unknown"
    return Report(result, findings, said, reasons, tally(result))


def _drained(result: Result) -> Finding:
    stuck = tuple(f"{count} {what}" for what, count in result.drained.stuck.items())
    what = f"not everything was final {result.drained.seconds:.0f} s after the load"
    promise = f"Everything was final within {result.drain_within_s:.0f} s of the last client"
    checker = Checker("drained", promise, lambda _: (1, []), "run")
    return Finding(checker, 1, (Violation(what, stuck),) if stuck else ())


def tried(report: Report) -> list[Row]:
    """Return what was tried, in rows of a name and a sentence."""
    f = report.figures["tried"]
    rows = [
        ("payments", f"{f['payments']:,} wanted, each under one Idempotency-Key, in {f['load_s']:.0f} s"),
        ("requests", f"{f['requests']:,} to {f['replicas']} replicas of the API"),
        ("sent again", f"{f['sent_again']:,} under a key already sent, up to {f['at_once_most']} at the same moment"),
        ("no answer", f"{sum(f['unanswered'].values()):,}{_brackets(f['unanswered'])}: asked again"),
        ("other payload", f"{f['mismatches']:,} requests under a key that was used for something else"),
        ("cancels, refunds", f"{f['cancels']:,} and {f['refunds']:,}, some for more than there was"),
        *[("taken out", f"{name}: this installation is sabotaged") for name in report.result.taken_out],
        ("faults", f"{sum(f['fired'].values()):,}{_brackets(f['fired'])}, {f['got_over']:,} of them got over:"),
        *[(f"  {fault['kind']} {fault['target']}", _fault(fault)) for fault in f["faults"]],
    ]
    return _seen(report, rows)


def found(report: Report) -> list[Row]:
    """Return what was found, in rows of a name and a sentence."""
    f = report.figures["found"]
    replays, without_new = f["replays"], f["provider_calls_without_new_object"]
    rows = [
        ("payments", f"{sum(f['payments'].values()):,}{_brackets(f['payments'])}"),
        ("charges", f"{sum(f['charges'].values()):,} at the provider{_brackets(f['charges'])}"),
        ("refunds", f"{sum(f['provider_refunds'].values()):,} at the provider{_brackets(f['provider_refunds'])}"),
        ("provider's answers", _brackets(f["provider_answers"]).strip(" ()")),
        *_left_unknown(f["left_unknown"]),
        ("conflicts", f"{sum(f['conflicts'].values()):,} answered 409{_brackets(f['conflicts'])}"),
        ("events", f"{f['topic_records']:,} on the Kafka topic for {f['events']:,} committed"),
        (
            "duplicates absorbed",
            f"{replays:,} requests got the first answer again; {without_new:,} of {f['provider_calls']:,} calls to the"
            f" provider moved nothing new; {f['webhooks_repeated']:,} webhooks came again under the same id",
        ),
        ("time to drain", _drain(report.result.drained)),
        ("ledger", "what the provider owes, in minor units:"),
        *[(f"  {row['tenant']} {row['currency']}", _ledger(row)) for row in f["ledger"]],
    ]
    return _seen(report, rows)


def _seen(report: Report, rows: Sequence[Row]) -> list[Row]:
    """Leave out what nobody can see of a pipeline that is not ours."""
    return [row for row in rows if not (report.result.pipeline and row[0] in OF_OURS)]


def _left_unknown(counts: Mapping[str, int]) -> list[Row]:
    why = "as expected: nobody can know whether they happened at a provider that speaks so; a person has to ask"
    return [("left unknown", f"{sum(counts.values()):,}{_brackets(counts)}, {why}")] if counts else []


def _drain(drained: Drained) -> str:
    return f"{drained.seconds:.1f} s until " + ("we gave up waiting" if drained.stuck else "everything was final")


def _brackets(counts: Mapping[str, int]) -> str:
    inside = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f" ({inside})" if inside else ""


def _ledger(row: Mapping[str, Any]) -> str:
    return f"{row['captured']:>10,} captured - {row['refunded']:>9,} refunded = {row['owed']:>10,}"


def _fault(fault: Mapping[str, Any]) -> str:
    if not fault["fired"]:
        return f"did not fire: {fault['saw']}"
    lasted = f" for {fault['lasted_s']:.1f} s" if (fault["lasted_s"] or 0.0) >= MOMENT_S else ""
    back = "not seen again" if fault["back_after_s"] is None else f"working again {fault['back_after_s']:.1f} s later"
    return f"at {fault['after_s']:>4.1f} s{lasted}, {fault['requests_under_way']:>2} requests open, {back}"


def show(report: Report, console: Console, folder: Path) -> None:
    """Print the report."""
    for title, rows in (("What was tried", tried(report)), ("What was found", found(report))):
        console.print(f"\n[bold]{title}[/bold]")
        console.print(_table(rows))
    console.print("\n[bold]What was promised[/bold]")
    for finding in report.findings:
        mark = "[red]broken[/red]" if finding.violations else "[green]kept  [/green]" if finding.examined else "unseen"
        console.print(f"  {mark}  {finding.checker.promise} [dim]({finding.examined:,} {finding.checker.counts})[/dim]")
    if report.not_looked_at:
        unlooked = f"{len(report.not_looked_at)} promises about what only our own pipeline shows (report.html has them)"
        console.print(f"  [dim]not looked at: {unlooked}[/dim]")
    _show_verdict(report, console)
    console.print("\n[bold]Where to look next[/bold]")
    evidence = (("the evidence of this run", f"{folder}/ (report.html, report.md, report.json, the witnesses, logs)"),)
    again = (("this run again", repeat(report.result)), ("judge it again", f"paidonce chaos check {folder}"))
    console.print(_table([*evidence, *again, *(NEXT_OF_YOURS if report.result.pipeline else NEXT)]))


def repeat(result: Result) -> str:
    """Return the command that makes the same run again."""
    return result.command or f"paidonce chaos run {result.plan} --payments {result.payments} --seed {result.seed}"


def _table(rows: Sequence[Row]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, sentence in rows:
        table.add_row(f"  {name}", escape(sentence))
    return table


def _show_verdict(report: Report, console: Console) -> None:
    colour = {"valid": "green", "invalid": "red", "unknown": "yellow"}[report.verdict]
    console.print(f"\n[bold {colour}]Verdict: {report.verdict}[/bold {colour}]  {report.meaning}")
    if report.verdict == "invalid":
        for checker, violation in report.smallest[:REASONS_MOST]:
            console.print(f"  [red]{checker.name}[/red]: {escape(violation.what)}")
            for line in violation.evidence[:EVIDENCE_LINES_MOST]:
                console.print(f"      {escape(line)}")
    else:
        for reason in report.reasons[:REASONS_MOST]:
            console.print(f"  {escape(reason)}")


MEANING: Mapping[Verdict, str] = {
    "valid": "every promise was kept, under every fault.",
    "invalid": "a promise was broken; this is the smallest evidence for each:",
    "unknown": "nothing broke, but the run does not prove enough:",
}


def write(report: Report, folder: Path, shrunk: Mapping[str, Any] | None = None) -> None:
    """Write report.json and report.md into `folder`; `shrunk` is what fewer faults did."""
    said = as_json(report) | ({"shrunk": shrunk} if shrunk else {})
    (folder / "report.json").write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2))
    (folder / "report.md").write_text(_markdown(report))


def as_json(report: Report) -> dict[str, Any]:
    """Return the report for programs: verdict, seed, figures, and every finding with all its violations."""
    return {
        "verdict": report.verdict,
        "reasons": list(report.reasons),
        "plan": report.result.plan,
        "seed": report.result.seed,
        "repeat": repeat(report.result),
        "taken_out": list(report.result.taken_out),
        "pipeline": report.result.pipeline,
        "not_looked_at": [checker.name for checker in report.not_looked_at],
        **report.figures,
        "stuck": dict(report.result.drained.stuck),
        "findings": [
            {
                "checker": finding.checker.name,
                "promise": finding.checker.promise,
                "examined": finding.examined,
                "counts": finding.checker.counts,
                "violations": [{"what": v.what, "evidence": list(v.evidence)} for v in finding.violations],
            }
            for finding in report.findings
        ],
    }


def _markdown(report: Report) -> str:
    lines = [f"# Verdict: {report.verdict}", "", report.meaning, ""]
    for checker, violation in report.smallest:
        lines += [f"- **{checker.name}**: {violation.what}", *[f"    - `{line}`" for line in violation.evidence]]
    lines += [f"- {reason}" for reason in report.reasons if report.verdict == "unknown"]
    for title, rows in (("What was tried", tried(report)), ("What was found", found(report))):
        lines += ["", f"## {title}", "", "| | |", "|---|---|", *[f"| {name} | {text} |" for name, text in rows]]
    lines += ["", "## What was promised", "", "| promise | looked at | broken |", "|---|---|---|"]
    for finding in report.findings:
        looked = f"{finding.examined:,} {finding.checker.counts}"
        lines.append(f"| {finding.checker.promise} | {looked} | {len(finding.violations)} |")
    lines += [f"| {checker.promise} | not looked at | |" for checker in report.not_looked_at]
    return "\n".join([*lines, "", f"Seed {report.result.seed}."]) + "\n"
