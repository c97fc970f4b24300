"""Does the rig take an adapter as it is meant, refuse what is none, and know when a pipeline is through?"""

import sys
from pathlib import Path

import pytest

from paidonce.chaos.adapter import AdapterError, Call, Ground, Payment, Pipeline, load
from paidonce.chaos.plan import Expects, Faults, Plan, PlanError
from paidonce.chaos.plan import Ground as PlanGround
from paidonce.chaos.plan import load as load_plan
from paidonce.chaos.yours.conduct import PLAN, aimed, check_outside
from paidonce.chaos.yours.drain import STILL_ASKING, STILL_OPEN, drain
from paidonce.chaos.yours.workload import request, wishes

ROOT = Path(__file__).parents[4]


def ground(folder: Path) -> Ground:
    return Ground(
        dsn="postgresql://127.0.0.1/x", kafka="127.0.0.1:9092", valkey="redis://127.0.0.1", folder=folder,
        provider="http://127.0.0.1:8082", ports=tuple(range(20_000, 20_016)),
    )  # fmt: skip


class Shop(Pipeline):
    """A pipeline of which only the request matters."""

    def call(self, payment: Payment) -> Call:
        return Call(path="/pay", json={"cents": payment.amount}, headers={"X-Key": payment.key})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("examples.naive.adapter", "MODULE:CLASS"),
        ("no.such.module:X", "no module 'no'"),
        ("paidonce.chaos.adapter:Nobody", "has no 'Nobody'"),
        ("pathlib:Path", "lacks apis, programs, call, paid_as, charges"),
    ],
)
def test_what_is_no_adapter_is_refused_with_what_to_do(name: str, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        load(name)


@pytest.mark.parametrize(
    "name",
    ["examples.naive.adapter:Naive", "examples.mended.adapter:Mended", "paidonce.chaos.yours.itself:Paidonce"],
)
def test_the_adapters_that_we_ship_say_what_to_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    pipeline = load(name)(ground(tmp_path))
    programs = pipeline.programs()
    assert len(pipeline.apis()) == 2
    assert [program.name for program in programs if program.once] == ["migrate"]
    assert len({program.name for program in programs}) == len(programs)
    assert pipeline.paid_as({"id": "p-1"}) == "p-1"
    assert pipeline.charges() is None


def test_every_payment_has_an_amount_and_a_key_of_its_own() -> None:
    wanted = wishes(7, 400, 16.0, {"pm_ok": 1})
    assert len({one.amount for one in wanted}) == len({one.key for one in wanted}) == 400
    assert {(one.currency, one.mismatch, one.cancel, one.refunds) for one in wanted} == {("EUR", False, False, ())}
    assert any(one.duplicates for one in wanted)
    assert wanted == wishes(7, 400, 16.0, {"pm_ok": 1})


def test_the_history_has_the_runs_own_words_whatever_is_sent(tmp_path: Path) -> None:
    one = wishes(7, 1, 1.0, {"pm_ok": 1})[0]
    sent = request(Shop(ground(tmp_path)), one)
    assert (sent.body, sent.headers, sent.path) == ({"cents": one.amount}, {"X-Key": one.key}, "/pay")
    assert sent.noted == {"amount": one.amount, "currency": "EUR", "payment_method": "pm_ok"}
    assert 409 in sent.again


def test_a_plan_aims_at_everybody_or_at_a_name() -> None:
    plan = Plan(
        name="p", says="", faults=(Faults(kind="kill", targets=("*",)), Faults(kind="kill", targets=("api-1",)))
    )
    assert [one.targets for one in aimed(plan, ["api-1", "worker"]).faults] == [("api-1", "worker"), ("api-1",)]


def test_the_plan_for_who_brings_none_is_one_for_others() -> None:
    check_outside(load_plan(str(PLAN)))


@pytest.mark.parametrize(
    "more",
    [
        {"strikes": {"relay": ("relay.publish:after:kill:3",)}},
        {"skew_s": {"relay": 1.0}},
        {"sabotage": ("S1",)},
        {"expects": Expects(unknown=("charge",))},
        {"ground": PlanGround(proxied=True)},
        {"ground": PlanGround(settings={"relay_lease_s": 2.0})},
    ],
)
def test_what_there_is_of_paidonce_only_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(PlanError, match="only for Paidonce itself"):
        check_outside(Plan.model_validate({"name": "p", "says": ""} | more))


def test_a_quiet_pipeline_is_through_and_what_is_open_then_is_stuck() -> None:
    looks: list[object] = []
    ended = drain(lambda: ((), 5), lambda _: 2, looks.append, rest_s=0.3, within_s=60.0)
    assert ended.stuck == {STILL_OPEN: 2}
    assert looks
    assert drain(lambda: ((), 5), lambda _: 0, looks.append, rest_s=0.3, within_s=60.0).stuck == {}


def test_a_pipeline_that_never_stops_asking_is_not_through() -> None:
    calls = iter(range(1, 1_000))
    ended = drain(lambda: ((), next(calls)), lambda _: 2, lambda _: None, rest_s=5.0, within_s=0.5)
    assert set(ended.stuck) == {STILL_ASKING}
