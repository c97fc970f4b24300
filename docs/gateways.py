"""Write the table of docs/gateways.md anew, from what `make test-gateway` found; with `--check` only compare it."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Left by tests/contract/gateway, when it ran every row.
FINDINGS = ROOT / "reports" / "gateways.json"
PAGE = Path(__file__).with_suffix(".md")
BEGIN, END = "<!-- written by docs/gateways.py -->\n", "<!-- end -->\n"


def table(findings: list[dict[str, str]]) -> str:
    """Return the table: a row for each attack, a column for each gateway, who refuses it there."""
    names = [name for name in findings[0] if name not in ("attack", "answer")]
    refused = [row for row in findings if row["answer"] != "200"]
    counts = [f"{name} {sum(row[name] == 'refuses' for row in refused)}" for name in names]
    lines = [
        f"Of {len(refused)} requests that must be refused, each gateway refuses by itself: {', '.join(counts)}.\n\n",
        f"| what comes | answer | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}\n",
    ]
    lines += [
        f"| {row['attack']} | {row['answer']} | {' | '.join(row[name] for name in names)} |\n" for row in findings
    ]
    return "".join(lines)


def main() -> None:
    """Write or compare; exit 1 when the page says something else than the run found."""
    if not FINDINGS.exists():
        print("docs/gateways.md is left alone: `make test-gateway` did not run every row of its table")
        return
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    new = before + BEGIN + "\n" + table(json.loads(FINDINGS.read_text())) + "\n" + END + rest.split(END, 1)[1]
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(new, encoding="utf-8")
    elif new != page:
        sys.exit("docs/gateways.md says something else than the run found: run `make docs`, and look at the difference")


if __name__ == "__main__":
    main()
