"""Does each patch fit the product as it is, and is each of them told in docs/sabotage.md?"""

import importlib.util
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from paidonce.chaos import launch
from paidonce.chaos.conduct import OUTSIDERS
from paidonce.chaos.sabotage import SAFEGUARDS, module_of
from paidonce.chaos.sabotage.patching import PatchError, reword, swap
from paidonce.devstack.members import Ports, insiders, issuer, outsiders

ROOT = Path(__file__).parents[3]

#: In one process, the sixteen would meet each other; so each has a fork of its own.
EACH_ALONE = """
import os
from paidonce.app import main
from paidonce.chaos.sabotage import SAFEGUARDS, take_out
from paidonce.workers import cleaner, consumer, effects, relay
for safeguard in SAFEGUARDS:
    child = os.fork()
    if not child:
        take_out(safeguard)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, safeguard
print("each fits")
"""


def test_each_patch_fits_the_product() -> None:
    found = subprocess.run([sys.executable, "-c", EACH_ALONE], capture_output=True, text=True, timeout=60, check=False)
    assert found.stdout == "each fits\n", found.stderr


def test_each_patch_says_first_which_safeguard_it_takes_out() -> None:
    for safeguard in SAFEGUARDS:
        told = import_module(module_of(safeguard)).__doc__ or ""
        assert told.startswith(f"{safeguard}: "), safeguard


def test_a_patch_that_does_not_fit_any_more_is_an_error() -> None:
    product = SimpleNamespace(__name__="product", STATEMENT="SELECT 1 FROM one, one")
    with pytest.raises(PatchError, match="product has no work"):
        swap(product, "work", print)
    product.check = lambda settings, *, name: (settings, name)
    with pytest.raises(PatchError, match=r"product\.check takes \(settings, \*, name\), not \(_settings\)"):
        swap(product, "check", lambda _settings: None)
    with pytest.raises(PatchError, match=r"product\.STATEMENT does not say 'two' once"):
        reword(product, "STATEMENT", "two", "three")
    with pytest.raises(PatchError, match=r"product\.STATEMENT does not say 'one' once"):
        reword(product, "STATEMENT", "one", "two")
    reword(product, "STATEMENT", "SELECT 1", "SELECT 2")
    assert product.STATEMENT == "SELECT 2 FROM one, one"


def test_the_launcher_takes_out_what_it_is_told_and_refuses_what_there_is_not() -> None:
    command = launch.arguments(taken_out=["S1", "S12"])
    assert command[3:] == ["--sabotage", "S1", "--sabotage", "S12"]
    found = subprocess.run(
        [*launch.arguments(taken_out=["S17"]), "relay"], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 2
    assert "S17" in found.stderr


def test_a_witness_is_never_patched(tmp_path: Path) -> None:
    ports = Ports([1])
    witnesses = {one.name for one in (*outsiders(ports, tmp_path, ""), issuer(ports, tmp_path, ""))}
    assert witnesses == OUTSIDERS
    assert not witnesses & {one.name for one in insiders(ports)}


def test_a_worker_of_a_pair_is_there_twice_on_ports_of_its_own() -> None:
    members = {one.name: one for one in insiders(Ports([1]), ["relay", "consumer-ledger"])}
    assert members["relay-2"].arguments == ("relay",)
    assert members["consumer-ledger-2"].arguments == ("consumer", "ledger")
    assert members["relay-2"].ready_url != members["relay"].ready_url
    assert "effects-2" not in members


def test_the_document_shows_the_patches_as_they_are() -> None:
    spec = importlib.util.spec_from_file_location("docs_sabotage", ROOT / "docs/sabotage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/sabotage.md").read_text(encoding="utf-8") == module.text(), "run `make docs`"
