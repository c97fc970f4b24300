"""Debezium Server's files are the pinned ones or an error that says what to do; docs/cdc.md shows what is tested."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from paidonce.devstack import debezium, debezium_files, distribution
from paidonce.devstack.errors import JarsUnobtainableError

DOCS = Path(__file__).parents[3] / "docs/cdc.md"


def packed(path: Path, jar: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"debezium-server/{debezium_files.RUNNER}", "runner")
        archive.writestr("debezium-server/lib/a.jar", jar)
        archive.writestr("debezium-server/connectors/other.jar", "not ours")
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a small file in place of the 785 MB."""
    good = packed(tmp_path / "good.zip", "jar")
    small = replace(debezium_files.DEBEZIUM, zip_sha256=hashlib.sha256(good.read_bytes()).hexdigest())
    distribution.unpack(small, good, tmp_path / "good")
    small = replace(small, kept_sha256=distribution.kept_sum(small, tmp_path / "good"))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.setattr(debezium_files, "DEBEZIUM", small)
    monkeypatch.setattr(distribution, "fetch", lambda _wanted, _scratch: good)
    return tmp_path / "cache"


def test_only_the_server_and_its_libraries_are_kept(cache: Path) -> None:
    runner, jar = debezium_files.debezium_files()
    assert (runner.name, jar.read_text()) == (debezium_files.RUNNER, "jar")
    assert {path.name for path in runner.parent.rglob("*")} == {runner.name, "lib", "a.jar"}


def test_what_was_tampered_with_in_the_cache_is_fetched_anew(cache: Path) -> None:
    _, jar = debezium_files.debezium_files()
    jar.write_text("tampered")
    assert debezium_files.debezium_files()[1].read_text() == "jar"
    (jar.parent / "more.jar").write_text("added")
    assert len(debezium_files.debezium_files()) == 2


def test_another_file_than_the_pinned_one_is_refused_with_its_sum(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = packed(tmp_path / "other.zip", "another jar")
    monkeypatch.setattr(distribution, "fetch", lambda _wanted, _scratch: other)
    with pytest.raises(JarsUnobtainableError, match=hashlib.sha256(other.read_bytes()).hexdigest()):
        debezium_files.debezium_files()
    assert list(cache.glob("debezium-*")) == [], "nothing of it is kept"


def test_without_a_way_to_fetch_it_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_scratch: Path) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("platformdirs.user_cache_path", lambda _name: tmp_path)
    monkeypatch.setattr(distribution, "context", refuse)
    with pytest.raises(JarsUnobtainableError, match=r"io\.debezium.*no route.*Connect this machine once"):
        debezium_files.debezium_files()


def test_the_docs_show_the_configuration_that_is_tested() -> None:
    assert f"```properties\n{debezium.PROPERTIES.read_text()}```" in DOCS.read_text()


def test_the_docs_show_the_statements_that_are_tested() -> None:
    shown = " ".join(DOCS.read_text().split())
    for statement in debezium.PREPARATION:
        named = statement.format(slot=debezium.SLOT, slot_text=f"'{debezium.SLOT}'", password="'…'")
        assert " ".join(named.split()) + ";" in shown


def test_the_docs_name_the_version_that_is_tested() -> None:
    assert debezium_files.VERSION in DOCS.read_text()
    assert debezium.HEARTBEAT_TOPIC in DOCS.read_text()
