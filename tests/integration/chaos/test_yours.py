"""Is a pipeline found guilty when it is, and only then? The naive one, the same mended, and our own."""

from pathlib import Path

import httpx
import psutil
import pytest

from paidonce.chaos import adapter
from paidonce.chaos.checkers.verdict import Verdict
from paidonce.chaos.command import sized
from paidonce.chaos.plan import Plan, load
from paidonce.chaos.report import report
from paidonce.chaos.run import nobody
from paidonce.chaos.yours.conduct import PLAN, conduct
from paidonce.chaos.yours.stack import YourStack
from paidonce.devstack.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def judged(name: str, plan: Plan, folder: Path) -> tuple[Verdict, set[str], list[str]]:
    made = report(conduct(name, plan, folder, nobody(), seed=7, only=None, command=""))
    return made.verdict, {checker.name for checker, _ in made.smallest}, list(made.reasons)


def test_the_naive_one_charges_twice_and_loses(tmp_path: Path) -> None:
    verdict, broken, _ = judged("examples.naive.adapter:Naive", load(str(PLAN)), tmp_path)
    assert verdict == "invalid"
    assert {"one-capture", "nothing-lost", "same-answer"} <= broken


@pytest.mark.parametrize("name", ["examples.mended.adapter:Mended", "paidonce.chaos.yours.itself:Paidonce"])
def test_one_that_is_right_is_valid_under_the_same_plan(name: str, tmp_path: Path) -> None:
    plan = sized(load(str(PLAN)), payments=240)
    assert judged(name, plan, tmp_path) == ("valid", set(), [])


class Wrapped(adapter.Pipeline):
    """A program that is a shell, whose child does the work."""

    def __init__(self, ground: adapter.Ground) -> None:
        self.port, self.done = ground.ports[0], ground.folder / "migrated"

    def apis(self) -> list[str]:
        return [f"http://127.0.0.1:{self.port}"]

    def programs(self) -> list[adapter.Program]:
        serve = f"python3 -m http.server --bind 127.0.0.1 {self.port} & wait"
        return [
            adapter.Program(name="migrate", argv=["touch", str(self.done)], once=True),
            adapter.Program(name="web", argv=["sh", "-c", serve], ready=self.apis()[0]),
            adapter.Program(name="idle", argv=["sleep", "600"], struck=False),
        ]

    def call(self, payment: adapter.Payment) -> adapter.Call:
        return adapter.Call(path="/", json={})

    def paid_as(self, answer: object) -> None:
        return None


def test_a_kill_takes_all_that_a_program_has_started_and_it_comes_back() -> None:
    with YourStack(Wrapped) as stack:
        assert stack.targets() == ["web"]
        assert (stack.run.folder / "migrated").exists()
        shell = stack.process("web").pid
        children = psutil.Process(shell).children(recursive=True)
        assert children
        stack.kill("web")
        until(lambda: not any(_alive(child) for child in children), within_s=10.0, what="the end of the child")
        until(lambda: stack.process("web").pid != shell, within_s=10.0, what="a successor")
        stack.wait_ready("web")
        assert httpx.get(Wrapped(stack.ground).apis()[0], trust_env=False).is_success


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
