"""How does a run go? Load, faults, drain, and then every witness is asked. The stack is the caller's."""

import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from threading import Thread
from time import monotonic
from typing import Any, Protocol

import orjson

from paidonce.chaos import merchant, moments, tables, witnesses, workload
from paidonce.chaos.drain import drain
from paidonce.chaos.facts import Facts, Fault, Result
from paidonce.chaos.growth import watched
from paidonce.chaos.history import operations
from paidonce.chaos.intents import METHODS, TENANTS
from paidonce.chaos.plan import Plan
from paidonce.devstack.stack import Stack

#: How the provider behaves in a run: it takes its time, and tells us everything twice and late. pm_slow stays below
#: the time limit of a call (devstack/pace.py), pm_timeout and pm_late are above it.
PROVIDER: Mapping[str, Any] = {
    "simulator_delay_s": 0.02,
    "simulator_slow_s": 0.5,
    "simulator_timeout_s": 2.0,
    "simulator_webhook_copies": 2,
    "simulator_webhook_delay_s": 0.5,
}
#: Seconds after the last payment was due within which the clients must be through, and then the stack must have got
#: over the last fault: only a slow machine needs them, and for each second of a long load half a second more.
CLIENTS_WITHIN_S = 120.0
CLIENTS_SLOWER = 1.5


class Watcher(Protocol):
    """Who is told how the run goes, from several threads."""

    def says(self, what: str) -> None:
        """In a few words, what is done now."""

    def paid(self) -> None:
        """A client is through with its payment."""

    def struck(self, fault: Fault) -> None:
        """A planned fault fired, or did not."""

    def draining(self, stuck: Mapping[str, int]) -> None:
        """The load is over; this is not finished yet."""


#: Makes the faults while the load runs: on which stack, since when on the monotonic clock, and who is told of each.
#: Returns every fault that was planned, in order, once the stack has got over it.
MakeFaults = Callable[[Stack, float, Callable[[Fault], None]], list[Fault]]


class WorkloadError(Exception):
    """The workload did not begin or end as it should: the message is what it said last."""


def execute(
    stack: Stack,
    folder: Path,
    watcher: Watcher,
    *,
    plan: Plan,
    seed: int,
    make_faults: MakeFaults,
    apis: Sequence[str] = (),
) -> Result:
    """Run the plan's load with its faults against `stack`, drain, and ask the witnesses.

    The clients send to `apis`, by default the stack's own replicas. The evidence goes to `folder`. The load takes at
    least the plan's seconds, and what is not final in the time that the plan gives for the drain is stuck.

    Raises:
        WorkloadError: the clients could not work at all.
    """
    load = plan.load
    secrets = {tenant: webhook_secret(seed, tenant) for tenant in TENANTS}
    with merchants(folder, secrets) as address:
        config = workload.Config(
            seed=seed,
            payments=load.payments,
            load_s=load.lasts_s,
            methods=load.methods or METHODS,
            apis=tuple(apis or stack.addresses.apis),
            history=str(folder / "history.jsonl"),
            patience_s=load.patience_s,
            issuer=stack.addresses.issuer,
            endpoints={tenant: (f"{address}/{tenant}", secret) for tenant, secret in secrets.items()},
        )
        with watched(stack, plan.spares, folder):
            load_s, through, fired = under_load(
                "workload", folder, config, watcher, lambda began, told: make_faults(stack, began, told)
            )
        drained = drain(stack.addresses.dsn, watcher.draining, within_s=load.drain_s, left_unknown=plan.expects.unknown)
        facts = ask(stack, folder, fired)
    return Result(
        plan=plan.name,
        seed=seed,
        payments=load.payments,
        load_s=load_s,
        through=through,
        drain_within_s=load.drain_s,
        drained=drained,
        facts=replace(
            facts,
            drain_within_s=load.drain_s,
            expected_unknown=frozenset(plan.expects.unknown),
            expected_answers=frozenset(plan.expects.answers),
        ),
    )


class Lasting(Protocol):
    """What a workload process is told: a dataclass with whatever it needs, and with this."""

    @property
    def load_s(self) -> float:
        """Seconds over which its payments are spread."""


def under_load(
    name: str,
    folder: Path,
    config: Lasting,
    watcher: Watcher,
    make_faults: Callable[[float, Callable[[Fault], None]], list[Fault]],
) -> tuple[float, int, Sequence[Fault]]:
    """Run the workload of that name (a module of paidonce.chaos) to its end and make the faults meanwhile.

    Returns its seconds, the payments that the clients were through with, and what became of the faults.

    Raises:
        WorkloadError: the clients could not work.
    """
    through, fired = 0, Future[list[Fault]]()
    with _child(name, folder, config) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"begin":
            raise WorkloadError(_last_words(folder, name))
        began = monotonic()

        def strike_meanwhile() -> None:
            try:
                fired.set_result(make_faults(began, watcher.struck))
            except Exception as error:  # noqa: BLE001  it is raised again where the result is wanted
                fired.set_exception(error)

        Thread(target=strike_meanwhile, daemon=True).start()
        within_s = config.load_s * CLIENTS_SLOWER + CLIENTS_WITHIN_S
        watchdog = Thread(target=_bound, args=[process, within_s], daemon=True)
        watchdog.start()
        for _line in process.stdout:
            through += 1
            watcher.paid()
        if process.wait() > 0:
            raise WorkloadError(_last_words(folder, name))
    return monotonic() - began, through, fired.result(timeout=within_s)


def _bound(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Cut the clients off in the end; what they were still waiting for stays unknown in their history."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()


def ask(stack: Stack, folder: Path, fired: Sequence[Fault]) -> Facts:
    """Ask every witness; what they say goes to `folder` too."""
    with tables.connect(stack.addresses.dsn) as connection:
        said: dict[str, Any] = tables.tables(connection)
        moments.save(connection, folder)
    witnesses.copy_journal(Path(stack.addresses.journal), folder / "provider.sqlite")
    said |= witnesses.journal(folder / "provider.sqlite")
    return Facts(
        **said,
        operations=operations(folder / "history.jsonl"),
        topic=witnesses.topic(stack.addresses.kafka, stack.settings.topic),
        deliveries=witnesses.mailbox(folder / "deliveries.jsonl"),
        endpoints=frozenset(TENANTS),
        faults=fired,
    )


@contextmanager
def merchants(folder: Path, secrets: Mapping[str, str]) -> Iterator[str]:
    """Run the server that takes the webhooks, one address for each tenant in `secrets`; yields its URL."""
    config = merchant.Config(mailbox=str(folder / "deliveries.jsonl"), secrets=secrets)
    with _child("merchant", folder, config) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


@contextmanager
def _child(name: str, folder: Path, config: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Run one of our modules as a process with `config` as its file; it is ended at the end."""
    path = folder / f"{name}.json"
    path.touch(mode=0o600)
    path.write_bytes(orjson.dumps(asdict(config)))
    argv = [sys.executable, "-m", f"paidonce.chaos.{name}", str(path)]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        # Its secrets are worth nothing after the run, and have no place in a report.
        path.unlink()


def _last_words(folder: Path, name: str) -> str:
    said = (folder / f"{name}.log").read_text(errors="replace").strip()
    return said[-2000:] or f"the {name} ended without a word"


def webhook_secret(seed: int, tenant: str) -> str:
    """Return a webhook secret of Standard Webhooks, the same for the same seed and tenant."""
    return "whsec_" + b64encode(Random(f"{seed} {tenant} secret").randbytes(32)).decode()


def nobody() -> Watcher:
    """Return a watcher who does nothing."""
    return _Nobody()


class _Nobody:
    def says(self, what: str) -> None:
        """Not told."""

    def paid(self) -> None:
        """Not told."""

    def struck(self, fault: Fault) -> None:
        """Not told."""

    def draining(self, stuck: Mapping[str, int]) -> None:
        """Not told."""
