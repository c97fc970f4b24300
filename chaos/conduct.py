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
from paidonce.chaos.step_log import StepLogs, launched
from paidonce.devstack.detour import straight
from paidonce.devstack.stack import Stack
from paidonce.devstack.supervisor import Launch

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
    command: str = "",
) -> Result:
    """Start a stack, run the plan on it, leave the evidence in `folder`, and return it.

    `settings` go over the plan's; `only` these faults are made, by their numbers; `command` makes the same run again.
    The safeguards `taken_out`, and those that the plan names, are missing in every process of ours.

    Raises:
        PlanError: the plan asks for what there is not.
        StackError: the stack did not start.
        WorkloadError: the clients could not work.
    """
    check(plan)
    taken_out = tuple(dict.fromkeys((*plan.sabotage, *taken_out)))
    steps = StepLogs(folder)
    steps.begun.unlink(missing_ok=True)
    watcher.says("starting PostgreSQL, Kafka and the processes")
    by_launcher = launched(plan, only)
    how = _launching(by_launcher, steps, taken_out)
    with proxies_of(plan) as proxies, stack_of(plan, how, settings or {}, proxies) as stack:
        watcher.says("paying")
        make_faults = _faults(schedule(plan, seed, plan.load.lasts_s), only, steps, proxies)
        try:
            result = execute(stack, folder, watcher, plan=plan, seed=seed, make_faults=make_faults)
        finally:
            with suppress(FileExistsError):
                shutil.copytree(stack.run.folder / "logs", folder / "logs")
    log = folder / "faults.jsonl"
    steps.note(by_launcher, FaultLog(log))
    result = replace(result, command=command, taken_out=taken_out)
    evidence.save(folder, replace(result, facts=replace(result.facts, faults=faults(log))))
    return evidence.load(folder)


def proxies_of(plan: Plan) -> AbstractContextManager[Proxies | None]:
    """Return the proxy that the plan's stack is led through, not started yet; of nothing when it asks for none."""
    return Proxies() if plan.ground.proxied else nullcontext()


def stack_of(plan: Plan, how: Launch, settings: Mapping[str, Any], proxies: Proxies | None) -> Stack:
    """Return the stack that the plan is made on, not started yet; led through `proxies` where there are any."""
    ground = plan.ground
    return Stack(
        replicas=ground.replicas,
        brokers=ground.brokers,
        standby=ground.standby,
        disk_mb=ground.disk_mb,
        pooled=ground.pooled,
        roles=ground.roles,
        pairs=ground.pairs,
        overrides={**PROVIDER, **ground.settings, **settings},
        launch=how,
        detour=proxies.detour if proxies else straight,
    )


def _launching(made: Sequence[Planned], steps: StepLogs, taken_out: Sequence[str]) -> Launch:
    """Return how each process is started: with those faults that the launcher makes in it."""

    def how(name: str) -> Sequence[str]:
        own = [one for one in made if one.target == name]
        return launch.arguments(
            strikes=[one.args["strike"] for one in own if one.kind == "strike"],
            taken_out=() if name in OUTSIDERS else taken_out,
            skew_s=sum(one.args["seconds"] for one in own if one.kind == "skew"),
            log=steps.of(name),
            begun=steps.begun,
        )

    return how


def _faults(
    scheduled: Sequence[Planned], only: Collection[int] | None, steps: StepLogs, proxies: Proxies | None
) -> MakeFaults:
    planned = [one for one in scheduled if only is None or one.number in only]

    def make(stack: Stack, began: float, told: Callable[[Fault], None]) -> list[Fault]:
        steps.begun.touch()
        return carry_out(Arena(stack, steps.folder, proxies), planned, began, told)

    return make
