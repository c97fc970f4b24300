"""How does a run against somebody else's pipeline go? As one of ours does: stack, load, faults, drain, witnesses."""

import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from paidonce.app.clock import SystemClock
from paidonce.chaos import evidence, witnesses
from paidonce.chaos.adapter import AdapterError, Charge, load
from paidonce.chaos.arena import Arena
from paidonce.chaos.carry_out import carry_out, check
from paidonce.chaos.facts import Facts, Fault, Result
from paidonce.chaos.history import operations
from paidonce.chaos.intents import METHODS
from paidonce.chaos.plan import Plan, PlanError
from paidonce.chaos.run import Watcher, under_load
from paidonce.chaos.schedule import schedule
from paidonce.chaos.yours.drain import STILL_ASKING, drain
from paidonce.chaos.yours.journal import read, write
from paidonce.chaos.yours.links import linked, names
from paidonce.chaos.yours.stack import YourStack
from paidonce.chaos.yours.workload import Config

#: The plan for who brings none.
PLAN = Path(__file__).parent / "yours.toml"
#: In a plan, every program of the pipeline.
EVERYBODY = "*"


def conduct(
    name: str, plan: Plan, folder: Path, watcher: Watcher, *, seed: int, only: Collection[int] | None, command: str
) -> Result:
    """Start the pipeline of the adapter `name`, run the plan on it, leave the evidence in `folder`, and return it.

    `only` these faults are made, by their numbers; `command` makes the same run again.

    Raises:
        AdapterError: there is no such adapter, or it answers with what is none.
        PlanError: the plan asks for what there is not, or what there is of Paidonce only.
        StackError: the pipeline did not start.
        WorkloadError: the clients could not work.
    """
    check(plan)
    check_outside(plan)
    adapter = load(name)
    watcher.says("starting PostgreSQL, Kafka, the provider and your programs")
    with YourStack(adapter, settings=plan.ground.settings, report=watcher.says) as stack:
        watcher.says("paying")
        try:
            result = _execute(name, stack, folder, watcher, plan=plan, seed=seed, only=only, command=command)
        finally:
            with suppress(FileExistsError):
                shutil.copytree(stack.run.folder / "logs", folder / "logs")
    evidence.save(folder, result)
    return evidence.load(folder)


def check_outside(plan: Plan) -> None:
    """Raise PlanError when the plan asks for what the rig can do to Paidonce's own processes only."""
    ground = plan.ground
    ours = {
        "strikes": plan.strikes,
        "skew_s": plan.skew_s,
        "sabotage": plan.sabotage,
        "expects.unknown": plan.expects.unknown,
        "ground.brokers": ground.brokers > 1,
        "ground.standby": ground.standby,
        "ground.proxied": ground.proxied,
        "ground.disk_mb": ground.disk_mb,
        "ground.pairs": ground.pairs,
        "ground.settings": [name for name in ground.settings if not name.startswith("simulator_")],
    }
    asked = [name for name, value in ours.items() if value]
    if asked:
        raise PlanError(f"{plan.name}: {', '.join(asked)}: only for Paidonce itself, not for a pipeline of yours")


def aimed(plan: Plan, targets: Sequence[str]) -> Plan:
    """Return the plan with faults aimed at everybody aimed at each of these."""
    faults = [
        one.model_copy(update={"targets": tuple(targets) if one.targets == (EVERYBODY,) else one.targets})
        for one in plan.faults
    ]
    return plan.model_copy(update={"faults": tuple(faults)})


def _execute(
    name: str,
    stack: YourStack,
    folder: Path,
    watcher: Watcher,
    *,
    plan: Plan,
    seed: int,
    only: Collection[int] | None,
    command: str,
) -> Result:
    load_, config = plan.load, _config(name, stack, folder, plan, seed)
    scheduled = schedule(aimed(plan, stack.targets()), seed, load_.lasts_s)
    planned = [one for one in scheduled if only is None or one.number in only]

    def make_faults(began: float, told: Callable[[Fault], None]) -> list[Fault]:
        return carry_out(Arena(stack, folder), planned, began, told)

    load_s, through, fired = under_load("yours.workload", folder, config, watcher, make_faults)
    sent, charges = operations(folder / "history.jsonl"), lambda: read(stack)
    named = names(sent, stack.pipeline.paid_as)
    accepted = {op.subject for op in sent if op.number in named}

    def not_charged(found: Collection[Charge]) -> int:
        references = {charge.reference for charge in found}
        return len(accepted - {row.subject for row in linked(sent, named, [*found]) if row.id in references})

    drained = drain(charges, not_charged, watcher.draining, rest_s=load_.rest_s, within_s=load_.drain_s)
    write(stack, folder / "provider.sqlite", at=SystemClock().now().timestamp())
    said = witnesses.journal(folder / "provider.sqlite")
    return Result(
        plan=plan.name,
        seed=seed,
        payments=load_.payments,
        load_s=load_s,
        through=through,
        drain_within_s=load_.drain_s,
        drained=drained,
        facts=Facts(
            **said,
            operations=sent,
            payments=linked(sent, named, said["charges"]),
            named=named,
            at_rest=STILL_ASKING not in drained.stuck,
            faults=fired,
            expected_answers=frozenset(plan.expects.answers),
        ),
        command=command,
        pipeline=name,
    )


def _config(name: str, stack: YourStack, folder: Path, plan: Plan, seed: int) -> Config:
    apis = stack.pipeline.apis()
    if not apis:
        raise AdapterError(f"{name}: apis() names no address to send payments to")
    return Config(
        pipeline=name,
        ground=asdict(stack.ground) | {"folder": str(stack.ground.folder)},
        seed=seed,
        payments=plan.load.payments,
        load_s=plan.load.lasts_s,
        methods=plan.load.methods or {method: weight for method, weight in METHODS.items() if "refund" not in method},
        history=str(folder / "history.jsonl"),
    )
