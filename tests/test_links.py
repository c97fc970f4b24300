"""Does every link of the documentation lead somewhere? Files and headings must; addresses elsewhere are not asked."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
#: Folders whose pages are not ours, or are made by a run.
NOT_OURS = {".venv", "build", "node_modules", "reports", ".pytest_cache"}
PAGES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.md")
    if not NOT_OURS & set(path.relative_to(ROOT).parts) and not path.name.startswith(".")
)


def tokens(text: str) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


def links(text: str) -> Iterator[str]:
    for token in tokens(text):
        target = token.attrGet("href" if token.type == "link_open" else "src")
        if token.type in {"link_open", "image"} and target is not None:
            yield str(target)


def anchors(text: str) -> set[str]:
    """The names that GitHub gives headings: small, without punctuation, hyphens for spaces, numbered where twice."""
    parsed = MarkdownIt("commonmark").parse(text)
    seen: Counter[str] = Counter()
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for opening, inline in pairwise(parsed):
        if opening.type != "heading_open":
            continue
        shown = "".join(child.content for child in inline.children or () if child.type in {"text", "code_inline"})
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


@cache
def anchors_of(page: Path) -> set[str]:
    return anchors(page.read_text())


def wrong(page: Path, text: str) -> Iterator[str]:
    """Yield each link of `page` that leads nowhere, with why."""
    for link in links(text):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            if parts.scheme not in {"https", "http", "mailto"}:
                yield f"{link}: no scheme that a reader can follow"
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.exists():
            yield f"{link}: there is no {unquote(parts.path)}"
        elif not target.is_relative_to(ROOT):
            yield f"{link}: leads out of the repository"
        elif parts.fragment and target.suffix == ".md" and parts.fragment not in anchors_of(target):
            yield f"{link}: {target.name} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(wrong(ROOT / page, (ROOT / page).read_text())) == []


def test_there_are_pages_and_links() -> None:
    assert {Path("README.md"), Path("docs/own-workers.md"), Path("examples/shop/README.md")} <= set(PAGES)
    assert sum(1 for page in PAGES for _ in links((ROOT / page).read_text())) > 100


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/none.md)",
        "[a](docs/design.md#no-such-heading)",
        "[a](#nowhere)",
        "![a](docs/none.png)",
        "| a |\n|---|\n| [b](none) |",
        "[a][b]\n\n[b]: none.md",
        "[a](../../../etc)",
        "[a](ftp://a)",
    ],
)
def test_a_link_that_leads_nowhere_would_be_found(text: str) -> None:
    assert list(wrong(ROOT / "README.md", text))


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("# Write an event", "write-an-event"),
        ("# `paidonce up`, and more", "paidonce-up-and-more"),
        ("# A · b", "a--b"),
        ("# Twice\n# Twice", "twice-1"),
    ],
)
def test_headings_have_the_names_that_github_gives_them(heading: str, name: str) -> None:
    assert name in anchors(heading)
