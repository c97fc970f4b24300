"""How does a benchmark start what it measures? As processes of their own, the product's by its command line."""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from paidonce.bench import environment
from paidonce.bench.errors import BenchError
from paidonce.devstack import pace
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

#: Seconds until a process answers.
START_S = 60.0
_PEERS = Path(__file__).parent / "peers"
_NUMBERS = count(1)


def start(run: Run, name: str, argv: Sequence[str], env: Mapping[str, str]) -> Process:
    """Start a process with its output in the run's folder, in a file of its own however many bear the name."""
    return run.start(Command(f"{name}-{next(_NUMBERS)}", argv, run.folder, run.environment(env)))


def product(run: Run, arguments: Sequence[str], settings: Mapping[str, Any], *, wait: bool = True) -> Process:
    """Start `paidonce ARGUMENTS` under `settings`, by field name; `wait` until it is ready."""
    return worker(run, " ".join(arguments), ["-m", "paidonce.cli", *arguments], settings, wait=wait)


def worker(run: Run, name: str, arguments: Sequence[str], settings: Mapping[str, Any], *, wait: bool = True) -> Process:
    """Start `python ARGUMENTS`, a worker of the product's kind, under `settings`; `wait` until it is ready."""
    port = free_port()
    env = pace.environment({**settings, "worker_port": port})
    process = start(run, name, [sys.executable, *arguments], env)
    if wait:
        wait_answer(process, f"http://{LOOPBACK}:{port}/readyz")
    return process


def peer(run: Run, program: str, job: Mapping[str, Any]) -> Process:
    """Start `bench/peers/PROGRAM` in the peers' environment, with `job` as JSON in BENCH_JOB."""
    argv = [str(environment.python()), str(_PEERS / program)]
    return start(run, program.removesuffix(".py"), argv, {"BENCH_JOB": json.dumps(job)})


def program(run: Run, module: str, job: Mapping[str, Any]) -> Process:
    """Start `python -m MODULE`, a helper of the benchmark, with `job` as JSON in BENCH_JOB."""
    return start(run, module.rpartition(".")[2], [sys.executable, "-m", module], {"BENCH_JOB": json.dumps(job)})


def wait_answer(process: Process, url: str) -> None:
    """Wait until GET `url` succeeds; raises StackError when the process ends before."""

    def answers() -> bool:
        process.check()
        try:
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    until(answers, within_s=START_S, what=f"{process.name} to answer")


def result(process: Process, *, within_s: float) -> Any:
    """Wait until the process has ended by itself; return its last line of output, which is JSON.

    Raises:
        BenchError: it failed.
        TooLateError: it works still.
    """
    until(lambda: not process.alive(), within_s=within_s, what=f"{process.name} to end")
    try:
        return json.loads(process.tail(1))
    except ValueError as error:
        raise BenchError(f"{process.name} failed:\n{process.tail()}") from error
