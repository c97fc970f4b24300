"""How does a plan become evidence? A fresh stack on its ground, the run, and a folder that says all."""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from paidonce.chaos import evidence, launch
from paidonce.chaos.arena import Arena
from paidonce.chaos.carry_out import carry_out, check
from paidonce.chaos.facts import Fault, Result
from paidonce.chaos.fault_log import FaultLog, faults
from paidonce.chaos.plan import Plan
from paidonce.chaos.proxy.client import Proxies
from paidonce.chaos.run import PROVIDER, MakeFaults, Watcher, execute
from paidonce.chaos.schedule import Planned, schedule
from paidonce.chaos.step_log import StepLogs
from paidonce.devstack.detour import straight
from paidonce.devstack.stack import Stack

#: The provider and the issuer are witnesses, and none of what is judged.
OUTSIDERS = frozenset({"provider", "issuer"})


def conduct(
    plan: Plan,
    folder: Path,
    watcher: Watcher,
    *,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    only: Collection[int] | None = None,
    taken_out: Sequence[str] = (),
) -> Result:
    """Start a stack, run the plan on it, leave the evidence in `folder`, and return it.

    `settings` go over the plan's; `only` these faults of the schedule are made, by their numbers.
    The safeguards `taken_out`, and those that the plan names, are missing in every process of ours.

    Raises:
        PlanError: the plan asks for what there is not.
        StackError: the stack did not start.
        WorkloadError: the clients could not work.
    """
    check(plan)
    taken_out = (*plan.sabotage, *taken_out)
    steps = StepLogs(folder)
    steps.begun.unlink(missing_ok=True)
    watcher.says("starting PostgreSQL, Kafka and the processes")
    with proxies_of(plan) as proxies, stack_of(plan, steps, settings or {}, proxies, taken_out) as stack:
        watcher.says("paying")
        make_faults = _faults(schedule(plan, seed, plan.load.lasts_s), only, steps, proxies)
        try:
            result = execute(stack, folder, watcher, plan=plan, seed=seed, make_faults=make_faults)
        finally:
            with suppress(FileExistsError):
                shutil.copytree(stack.run.folder / "logs", folder / "logs")
    log = folder / "faults.jsonl"
    steps.note(plan, FaultLog(log), first=len(result.facts.faults) + 1)
    evidence.save(folder, replace(result, facts=replace(result.facts, faults=faults(log)), taken_out=taken_out))
    return evidence.load(folder)


def proxies_of(plan: Plan) -> AbstractContextManager[Proxies | None]:
    """Return the proxy that the plan's stack is led through, not started yet; of nothing when it asks for none."""
    return Proxies() if plan.ground.proxied else nullcontext()


def stack_of(
    plan: Plan, steps: StepLogs, settings: Mapping[str, Any], proxies: Proxies | None, taken_out: Sequence[str] = ()
) -> Stack:
    """Return the stack that the plan is made on, not started yet; led through `proxies` where there are any."""

    def launched(name: str) -> Sequence[str]:
        return launch.arguments(
            strikes=plan.strikes.get(name, ()),
            taken_out=() if name in OUTSIDERS else taken_out,
            skew_s=plan.skew_s.get(name, 0.0),
            log=steps.of(name),
            begun=steps.begun,
        )

    ground = plan.ground
    return Stack(
        replicas=ground.replicas,
        brokers=ground.brokers,
        standby=ground.standby,
        pairs=ground.pairs,
        overrides={**PROVIDER, **ground.settings, **settings},
        launch=launched,
        detour=proxies.detour if proxies else straight,
    )


def _faults(
    scheduled: Sequence[Planned], only: Collection[int] | None, steps: StepLogs, proxies: Proxies | None
) -> MakeFaults:
    planned = [one for one in scheduled if only is None or one.number in only]

    def make(stack: Stack, began: float, told: Callable[[Fault], None]) -> list[Fault]:
        steps.begun.touch()
        return carry_out(Arena(stack, steps.folder, proxies), planned, began, told)

    return make
