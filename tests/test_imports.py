"""Imports point one way: downward through these layers, never sideways, never up (docs/design.md, "Layout")."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("app", "workers", "migrations", "gateway", "console", "devstack", "chaos", "bench", "paidonce")

#: From the top down. Names in one set are siblings, which do not import each other.
LAYERS: list[set[str]] = [
    {"paidonce.cli", "paidonce.__main__"},
    {
        "paidonce.cli_brake",
        "paidonce.cli_chaos",
        "paidonce.cli_consumers",
        "paidonce.cli_dead_letters",
        "paidonce.cli_issuer",
        "paidonce.cli_gateway",
        "paidonce.cli_outbox",
    },
    {"paidonce.bench"},
    {"paidonce.chaos"},
    {"paidonce.devstack"},
    {"paidonce.console"},
    {"paidonce.workers", "paidonce.app.main", "paidonce.migrations", "paidonce.gateway"},
    {"paidonce.app.yours"},
    {"paidonce.app.api"},
    {"paidonce.app.trail"},
    {"paidonce.app.auth", "paidonce.app.payments", "paidonce.app.customers", "paidonce.app.carts"},
    {"paidonce.app.idempotency", "paidonce.app.webhooks"},
    {"paidonce.app.messaging"},
    {"paidonce.app"},
]
#: The public face names what a handler's author needs, from wherever it is.
PUBLIC_FACE = "paidonce"


def modules() -> Iterator[tuple[str, Path]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            dotted = ".".join(parts if folder == "paidonce" else ("paidonce", *parts))
            yield dotted.removesuffix(".__init__"), path


def room(module: str) -> tuple[int, str]:
    """The layer's number and the name in it that the module belongs to, by the longest match."""
    matches = [
        (len(name), number, name)
        for number, layer in enumerate(LAYERS)
        for name in layer
        if module == name or module.startswith(name + ".")
    ]
    assert matches, f"{module} is in no layer: add it to LAYERS"
    _, number, name = max(matches)
    return number, name


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("module", "path"), [pytest.param(*item, id=item[0]) for item in modules()])
def test_imports_point_downward(module: str, path: Path) -> None:
    if module == PUBLIC_FACE:
        return
    number, name = room(module)
    for target in imported(path):
        if not target.startswith("paidonce.") or target.count(".") < 2:
            continue
        below, other = room(target)
        assert other == name or below > number, f"{module} imports {target}, which is not below it"


def test_a_wrong_import_would_be_seen() -> None:
    assert room("paidonce.app.api.payments")[0] < room("paidonce.app.payments.store")[0]
    assert room("paidonce.app.auth.policy")[0] == room("paidonce.app.payments.store")[0]
    assert room("paidonce.app.db") == room("paidonce.app.settings")
