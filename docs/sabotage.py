"""Write docs/sabotage.md from the patches, their plans and the last measured matrix: `make docs`.

`python docs/sabotage.py matrix.json` takes over a new measurement first (`paidonce chaos matrix --json matrix.json`).
"""

import ast
import difflib
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import orjson

from paidonce.chaos.matrix import finders
from paidonce.chaos.sabotage import SAFEGUARDS, take_out
from paidonce.chaos.sabotage.patching import Change, made

ROOT = Path(__file__).parent.parent
MEASURED = Path(__file__).with_suffix(".json")

HEAD = """# What if a safeguard were not there?

Each safeguard of [design.md](design.md#safeguards) has a patch that takes it out of our processes at their start,
a plan under which its bug must show, a checker that must report it, and a pattern for what that must say
(`chaos/sabotage/`, `chaos/plans/`; written by `make docs`). No patch is cruder than what a tired engineer would have
written. The provider, the issuer, the clients and the checkers are never patched. Each is shown below as a diff
against the product.

```bash
paidonce chaos matrix                   # all sixteen, and each plan with everything in place, which must be valid
paidonce chaos matrix S8 S14 --seed 7   # some of them
python -m paidonce.chaos.launch --sabotage S8 relay   # one process without it
```

*Found* means that the named checker reported the named bug; whatever else broke does not count. The last line is one
JSON object; the exit status is 0 when all were found and every control was valid.
"""

MEASUREMENT = """
## The last measured matrix

On two shared cores, seeds {seeds}: {found} of {of} found, {controls_valid} of {controls} runs with everything in place
valid. Seconds are the median of a whole run, from the start of its servers to its verdict.{note}

| without | plan | checker | found | seconds | the first evidence |
|---|---|---|---|---|---|
"""


def text() -> str:
    """Return the whole document."""
    parts = [HEAD, _table(orjson.loads(MEASURED.read_bytes())), "\n## The patches\n"]
    return "".join([*parts, *(_section(safeguard) for safeguard in SAFEGUARDS)])


def trimmed(matrix: dict[str, Any]) -> dict[str, Any]:
    """Return what the document says of a matrix."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in matrix["rows"]:
        rows[row["taken_out"] or f"nothing, {row['plan']}"].append(row)
    kept = {name: matrix[name] for name in ("found", "of", "controls_valid", "controls")}
    seeds = sorted({row["seed"] for row in matrix["rows"]})
    return kept | {"note": "", "seeds": seeds, "rows": {name: _kept(group) for name, group in rows.items()}}


def _kept(group: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = sorted(row["seconds"] for row in group)
    first = next((row["said"] for row in group if row["passed"]), "")
    return {
        "passed": sum(row["passed"] for row in group),
        "of": len(group),
        "seconds": seconds[len(seconds) // 2],
        "said": first,
    }


def _table(measured: dict[str, Any]) -> str:
    found = finders()
    seeds = ", ".join(map(str, measured["seeds"]))
    lines = [MEASUREMENT.format(**measured | {"seeds": seeds})]
    for safeguard in SAFEGUARDS:
        plan, finds = found[safeguard]
        row = measured["rows"][safeguard]
        times, seconds = f"{row['passed']} of {row['of']}", f"{row['seconds']:.0f}"
        lines.append(f"| {safeguard} | `{plan.name}` | `{finds.checker}` | {times} | {seconds} | {row['said']} |\n")
    for plan in dict.fromkeys(plan.name for plan, _ in found.values()):
        row = measured["rows"][f"nothing, {plan}"]
        times, seconds = f"{row['passed']} of {row['of']} valid", f"{row['seconds']:.0f}"
        lines.append(f"| nothing | `{plan}` | all of them | {times} | {seconds} | |\n")
    return "".join(lines)


def _section(safeguard: str) -> str:
    path = ROOT / "chaos/sabotage" / f"s{int(safeguard[1:]):02}.py"
    source = path.read_text(encoding="utf-8")
    title, _, why = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")
    plan, finds = finders()[safeguard]
    return f"""
### {title}

{why}

The plan `{plan.name}` ({plan.says}) must find it: `{finds.checker}` says `{finds.bug}`.

```diff
{"".join(_diffs(safeguard, source))}```
"""


def _diffs(safeguard: str, source: str) -> Iterator[str]:
    """Yield what the patch brings along, and then each of its changes to the product, as unified diffs."""
    changes = _changes(safeguard)
    brought = "".join(_brought(source, {change.after.__name__ for change in changes if callable(change.after)}))
    yield from _diff(f"the patch's own, chaos/sabotage/s{int(safeguard[1:]):02}.py", "", brought)
    for change in changes:
        yield from _diff(f"{_place(change.owner)}.{change.name}", _told(change.before), _told(change.after))


def _place(owner: Any) -> str:
    """Return the dotted name of a module or class."""
    return f"{owner.__module__}.{owner.__name__}" if inspect.isclass(owner) else str(owner.__name__)


def _changes(safeguard: str) -> list[Change]:
    """Take the safeguard out and put it back; return what was changed, each name once."""
    made.clear()
    take_out(safeguard)
    first: dict[tuple[Any, str], Change] = {}
    for change in made:
        known = first.setdefault((change.owner, change.name), change)
        first[change.owner, change.name] = known._replace(after=change.after)
    for change in first.values():
        setattr(change.owner, change.name, change.before)
    return list(first.values())


def _diff(where: str, before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), where, where, n=4)
    yield from list(lines)[1:]  # one name is enough


def _told(what: Any) -> str:
    """Return a statement, or a function's source."""
    text = what if isinstance(what, str) else inspect.getsource(what)
    return dedent(text).strip("\n") + "\n"


def _brought(source: str, swapped_in: set[str]) -> Iterator[str]:
    """Yield what the patch defines beside what it puts in the product's place."""
    for node in ast.parse(source).body[1:]:
        is_import = isinstance(node, ast.Import | ast.ImportFrom)
        if is_import or getattr(node, "name", "") in {"take_out", *swapped_in}:
            continue
        yield f"{ast.get_source_segment(source, node)}\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measured = trimmed(orjson.loads(Path(sys.argv[1]).read_bytes()))
        MEASURED.write_bytes(orjson.dumps(measured, option=orjson.OPT_INDENT_2) + b"\n")
    Path(__file__).with_suffix(".md").write_text(text(), encoding="utf-8")
