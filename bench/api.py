"""How many idempotent payments a second does one API process take? Beside a null route, and beside idemkit.

One uvicorn worker each, 16 connections, a fresh Idempotency-Key each, logs and steps of ours on as
in production; rounds of the three take turns, so that all meet the same machine. A figure is the
median of its rounds.
"""

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict
from itertools import chain
from statistics import median, quantiles

from rich.console import Console
from rich.progress import Progress

from paidonce.bench import load
from paidonce.bench.errors import BenchError
from paidonce.bench.figures import Figure
from paidonce.bench.load import Job, Result
from paidonce.bench.stage import CONNECTIONS, Stage, build
from paidonce.bench.terms import Terms
from paidonce.devstack.ports import LOOPBACK
from paidonce.devstack.runs import Run

ROUNDS = 5
#: Seconds of one round, and of the round before the first, which is thrown away.
ROUND_S, WARM_S = 4.0, 2.0
#: Above this share of a core the generator would be what is measured.
GENERATOR_SHARE_MAX = 0.8
#: Targets: shares and multiples of the others' rates.
LEAST_OF_NULL, LEAST_OF_IDEMKIT = 0.5, 2.0
BODY = {
    "amount": 1_999,
    "currency": "EUR",
    "payment_method": "pm_ok",
    "reference": "order-20931",
    "description": "Two concert tickets",
    "metadata": {"cart": "7f3a", "channel": "web"},
}
#: What stands in the head of a replayed answer.
REPLAYED = {"ours": "\r\nidempotent-replayed: true\r\n", "idemkit": "\r\nidempotency-replayed: true\r\n"}

#: server -> the results of its rounds
Rounds = dict[str, list[Result]]


def measure(terms: Terms) -> list[Figure]:
    """Return the figures of POST /v1/payments, first with fresh keys, then replayed.

    Raises:
        BenchError: an answer was not 201, or the generator was the bottleneck.
    """
    console = terms.console
    with Run() as run:
        with terms.stage("start PostgreSQL, the issuer and three servers"):
            stage = build(run)
        fresh, replays = _rounds(stage, console)
    shares = [result.cpu_share for result in chain(*fresh.values(), *replays.values())]
    console.print(
        f"PostgreSQL {stage.postgres}, {ROUNDS} rounds of {ROUND_S:g} s each; "
        f"the generator used at most {max(shares):.0%} of a core"
    )
    if max(shares) > GENERATOR_SHARE_MAX:
        raise BenchError(f"the generator used {max(shares):.0%} of a core: it was the bottleneck")
    beside = [
        *_figures("POST", fresh, "null", least=LEAST_OF_NULL),
        *_figures("POST", fresh, "idemkit", least=LEAST_OF_IDEMKIT),
    ]
    return [*beside, *_figures("replay", replays, "idemkit")]


def loaded(job: Job, name: str) -> Result:
    """Let the generator do its job; `name` is who is asked.

    Raises:
        BenchError: it failed, or an answer was not as it should be.
    """
    result = sent(job)
    if result.wrong or not result.good:
        raise BenchError(f"{name} answered {result.good} requests as it should, and otherwise: {result.wrong}")
    return result


def sent(job: Job) -> Result:
    """Let the generator do its job, whatever is answered; raises BenchError when it failed itself."""
    argv = [sys.executable, load.__file__]
    done = subprocess.run(argv, input=json.dumps(asdict(job)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"the generator failed:\n{done.stderr[-2_000:]}")
    return Result(**json.loads(done.stdout))


def _rounds(stage: Stage, console: Console) -> tuple[Rounds, Rounds]:
    fresh: Rounds = defaultdict(list)
    replays: Rounds = defaultdict(list)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=len(stage.ports) * (ROUNDS + 1) + len(REPLAYED) * ROUNDS)
        for number in range(ROUNDS + 1):
            for name in stage.ports:
                result = _load(stage, name, f"bench-{number}", WARM_S if number == 0 else ROUND_S)
                progress.advance(task)
                if number:
                    fresh[name].append(result)
        for number in range(ROUNDS):
            for name, header in REPLAYED.items():
                made = fresh[name][number].good
                replays[name].append(_load(stage, name, f"bench-{number + 1}", ROUND_S, keys=made, expected=header))
                progress.advance(task)
    return fresh, replays


def _load(stage: Stage, name: str, key_prefix: str, seconds: float, *, keys: int = 0, expected: str = "") -> Result:
    job = Job(
        host=LOOPBACK,
        port=stage.ports[name],
        token=stage.token,
        body=json.dumps(BODY),
        connections=CONNECTIONS,
        seconds=seconds,
        key_prefix=key_prefix,
        keys=keys,
        expected=expected,
    )
    return loaded(job, name)


def _figures(figure: str, rounds: Rounds, beside: str, *, least: float | None = None) -> list[Figure]:
    ours, theirs = _summary(rounds["ours"]), _summary(rounds[beside])
    return [
        Figure(figure, "requests/s", ours[""], beside, theirs[""], least),
        *(Figure(figure + part, "ms", ours[part], beside, theirs[part]) for part in (" p50", " p99")),
    ]


def _summary(results: list[Result]) -> dict[str, float]:
    cuts = quantiles(chain.from_iterable(result.latencies_us for result in results), n=100)
    rate = median(result.good / result.seconds for result in results)
    return {"": round(rate, 1), " p50": round(cuts[49] / 1_000, 2), " p99": round(cuts[98] / 1_000, 2)}
