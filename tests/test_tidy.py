"""Style as a test: what a reviewer would otherwise have to look for in every change."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from paidonce.app.settings import Settings
from paidonce.app.tables import metadata

ROOT = Path(__file__).parent.parent
PRODUCT = ("app", "workers")
#: What reads and writes by the product's functions, and is held to their homes and steps.
BESIDE = ("console",)

#: Calls that end a transaction, reach Kafka or leave the machine: each lies in a step.
MUST_BE_IN_A_STEP = {
    "begin": "a transaction that commits",
    "begin_async": "a transaction that commits",
    "commit": "a commit",
    "commit_transaction": "a Kafka commit",
    "send": "a send",
    "send_offsets_to_transaction": "an offset commit",
    "post": "an outside call",
    "request": "an outside call",
    "stream": "an outside call",
    "urlopen": "an outside call",
}
#: `app/db.py` is where the transactions' one commit is written, a producer's client is what `Publisher` calls in its
#: steps; the callers are held to the rule.
WITHOUT_STEP = {
    "app/db.py",
    "workers/broker_producer_kafka_python.py",
    "workers/broker_producer_librdkafka.py",
}
#: Modules with a statement on another's table, and why.
GUESTS = {
    ("app/payments/store.py", "idempotency"): "ACCEPT is one statement over four tables (S2)",
    ("app/payments/store.py", "outbox"): "ACCEPT is one statement over four tables (S2)",
    ("app/payments/store.py", "customers"): "ACCEPT is one statement over four tables (S2)",
    ("app/messaging/readers.py", "inbox"): "what a consumer got of a day is outbox and inbox together",
    ("app/messaging/readers.py", "inbox_foreign"): "what a consumer got of a day is outbox and inbox together",
    ("workers/spans.py", "outbox"): "a span is what two snapshots see differently of it (S5)",
    ("workers/windows.py", "outbox"): "a window is what its row and the outbox say together (S5)",
    ("app/messaging/relayed.py", "relay_windows"): "where an event went is asked below the workers, who write windows",
    ("workers/reloaded.py", "outbox"): "a reloaded dump is made to fit as a whole, its events and windows",
    ("workers/reloaded.py", "relay_windows"): "the same",
}


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text()


def is_step(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "step"


def step_names() -> list[str]:
    found = []
    for _, source in sources(*PRODUCT, *BESIDE):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in filter(is_step, node.decorator_list):
                    assert isinstance(decorator, ast.Call)
                    name = decorator.args[0]
                    assert isinstance(name, ast.Constant)
                    found.append(str(name.value))
    return found


def outside_steps(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each call of MUST_BE_IN_A_STEP that no enclosing function's step covers."""

    def visit(node: ast.AST, covered: bool) -> Iterator[tuple[int, str]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            covered = covered or any(map(is_step, node.decorator_list))
        if isinstance(node, ast.Call) and not covered:
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if name in MUST_BE_IN_A_STEP:
                yield node.lineno, name
        for child in ast.iter_child_nodes(node):
            yield from visit(child, covered)

    return visit(ast.parse(source), covered=False)


def homes() -> dict[str, str]:
    """Return table -> home, as app/tables.py says in the comment above each table."""
    text = (ROOT / "app/tables.py").read_text()
    found = re.findall(r"Home: (\S+?)(?:;[^\n]*)?\n(?:#:[^\n]*\n)*(\w+) = Table\(", text)
    return {table: home for home, table in found}


def test_every_step_is_named_once_and_after_its_process() -> None:
    names = step_names()
    assert names, "there are steps"
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert [name for name in names if not re.fullmatch(r"[a-z_]+\.[a-z_]+", name)] == []


@pytest.mark.parametrize(
    ("file", "source"),
    [pytest.param(*item, id=item[0]) for item in sources(*PRODUCT, *BESIDE) if item[0] not in WITHOUT_STEP],
)
def test_commits_sends_and_outside_calls_lie_in_steps(file: str, source: str) -> None:
    assert [f"{file}:{line}: {MUST_BE_IN_A_STEP[name]} ({name})" for line, name in outside_steps(source)] == []


def test_a_commit_outside_a_step_would_be_seen() -> None:
    assert list(outside_steps("def f(tx):\n    tx.commit()\n")) == [(2, "commit")]
    assert list(outside_steps("@step('a.b')\ndef f(tx):\n    tx.commit()\n")) == []


def test_each_safeguard_is_named_at_the_one_place_that_is_it() -> None:
    named = Counter(
        number for _, source in sources(*PRODUCT) for number in re.findall(r"^\s*# (S\d+):", source, re.MULTILINE)
    )
    assert named == Counter(f"S{number}" for number in range(1, 17))


def test_the_design_says_where_each_safeguard_is() -> None:
    design = (ROOT / "docs/design.md").read_text()
    said = dict(re.findall(r"^\| (S\d+) \|.*\| `([^`]+)` \|$", design, re.MULTILINE))
    found = {
        number: file
        for file, source in sources(*PRODUCT)
        for number in re.findall(r"^\s*# (S\d+):", source, re.MULTILINE)
    }
    assert said == found


def test_every_setting_is_documented() -> None:
    documented = (ROOT / "docs/settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert f"`PAIDONCE_{name.upper()}`" in documented, f"{name} is not in docs/settings.md: run `make docs`"


def test_every_metric_is_documented() -> None:
    made = re.compile(r'(?:Counter|Gauge|Histogram)\(\s*"(paidonce_[a-z0-9_]+)"')
    names = {name for _, source in sources(*PRODUCT) for name in made.findall(source)}
    assert len(names) > 20
    documented = (ROOT / "docs/operations.md").read_text()
    assert [name for name in sorted(names) if not re.search(rf"`{name}[`{{]", documented)] == []


def test_every_table_has_one_home() -> None:
    assert set(homes()) == set(metadata.tables)
    assert [home for home in homes().values() if not (ROOT / home).is_file()] == []


@pytest.mark.parametrize(("table", "home"), homes().items())
def test_statements_on_a_table_are_in_its_home(table: str, home: str) -> None:
    statement = re.compile(rf"\b(?:INTO|FROM|JOIN|UPDATE|TABLE)\s+(?:ONLY\s+)?{table}\b")
    imports = re.compile(rf"^from paidonce\.app\.tables import [^#\n]*\b{table}\b", re.MULTILINE)
    users = {file for file, source in sources(*PRODUCT, *BESIDE) if statement.search(source) or imports.search(source)}
    guests = {file for file, guest_of in GUESTS if guest_of == table}
    assert users - guests - {"app/tables.py"} <= {home}


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("tenacity", r"app/retry\.py"),
        ("kafka", r"workers/broker\w*\.py"),
        ("confluent_kafka", r"workers/broker_producer_librdkafka\.py"),
        ("sqlite3", "$"),
        ("valkey", r"app/valkey\.py"),
        ("limits", r"app/auth/rate_limit\.py"),
    ],
)
def test_a_library_is_known_in_one_place(library: str, allowed: str) -> None:
    users = {
        file
        for file, source in sources(*PRODUCT, *BESIDE)
        if re.search(rf"^\s*(?:import|from) {library}\b", source, re.MULTILINE)
    }
    assert [file for file in users if not re.fullmatch(allowed, file)] == []


def test_a_kafka_client_is_told_where_and_how_in_one_place() -> None:
    users = {file for file, source in sources(*PRODUCT) if re.search(r"bootstrap_servers|bootstrap\.servers", source)}
    # The second asks one broker a question, over a connection that the first made arguments for.
    assert users == {"workers/broker_security.py", "workers/broker_refusals.py"}


def test_the_docstrings_cite_sections_that_exist() -> None:
    headings = set(re.findall(r"^#+ (.+)$", (ROOT / "docs/design.md").read_text(), re.MULTILINE))
    cited = {
        (file, section)
        for file, source in sources(
            "app", "workers", "console", "gateway", "devstack", "chaos", "bench", "paidonce", "migrations"
        )
        for section in re.findall(r'docs/design\.md,\s+"([^"]+)"', source)
    }
    assert [(file, section) for file, section in sorted(cited) if section not in headings] == []


def test_files_fit_in_the_head() -> None:
    """300 lines at most; about 100 at the median."""
    lengths = {
        file: source.count("\n")
        for file, source in sources(*PRODUCT, *BESIDE, "gateway", "devstack", "chaos", "bench", "paidonce")
    }
    lengths |= {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in (ROOT / "gateway").rglob("*.lua")}
    assert [file for file, length in lengths.items() if length > 300] == []
