"""Does it matter which replica gets a request? `make demo-stateless` tries it three times, and says.

Exit status 0: the servers that remember lost customers, and ours none.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import httpx
from rich.console import Console
from rich.table import Table

from paidonce.chaos.stateless import conversation, remembering
from paidonce.chaos.stateless.caller import Caller, Tally, UnexpectedError
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

REPLICAS = 4
CUSTOMERS = 40
#: Customers at once: enough to be in the middle of something wherever a replica dies.
TOGETHER = 8
#: Answers between two kills.
KILL_EVERY = 40
#: Seconds for a replica to start again: 2 on a quiet machine.
START_S = 60.0

Converse = Callable[[Caller], Awaitable[object]]


@dataclass
class Result:
    """How many customers came to their end, what the others saw first, and what it took."""

    done: int
    faults: list[str]
    tally: Tally
    kills: int


async def talk(
    replicas: Sequence[str], converse: Converse, *, kill: Callable[[int], None] | None, sticky: bool, customers: int
) -> Result:
    """Let `customers` talk to the replicas, while `kill(number)` ends one and returns once it is up again."""
    tally, faults, together = Tally(), list[str](), asyncio.Semaphore(TOGETHER)

    async def customer(number: int, http: httpx.AsyncClient) -> bool:
        async with together:
            choose = (lambda urls: urls[number % len(urls)]) if sticky else None
            try:
                await converse(Caller(http, replicas, tally, Random(number), choose))
            except UnexpectedError as fault:
                faults.append(str(fault))
                return False
            return True

    kills = 0

    async def killer() -> None:
        nonlocal kills
        while kill is not None:
            await tally.more(KILL_EVERY)
            await asyncio.to_thread(kill, kills % len(replicas))
            kills += 1

    async with httpx.AsyncClient(trust_env=False, timeout=20.0) as http:
        killing = asyncio.create_task(killer())
        done = sum(await asyncio.gather(*(customer(number, http) for number in range(customers))))
        killing.cancel()
    return Result(done, faults, tally, kills)


@contextmanager
def remembering_replicas(count: int) -> Iterator[tuple[list[str], Callable[[int], None]]]:
    """Give the URLs of that many servers that remember, and what kills one and starts it again."""
    with Run() as run:
        ports = [free_port() for _ in range(count)]
        urls = [f"http://{LOOPBACK}:{port}" for port in ports]
        argv = [sys.executable, "-m", "paidonce.chaos.stateless.remembering"]
        started: list[Process] = [
            run.start(Command(f"remembering-{port}", [*argv, str(port)], run.folder, run.environment({})))
            for port in ports
        ]

        def kill(number: int) -> None:
            started[number].end(within_s=0.0)
            run.restart(started[number])
            wait(number)

        def wait(number: int) -> None:
            until(lambda: _answers(urls[number]), within_s=START_S, what="a server that remembers")

        for number in range(count):
            wait(number)
        yield urls, kill


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def kills_of(stack: Stack) -> Callable[[int], None]:
    """Return what kills one of a stack's API replicas, and waits until it has been started again and is ready."""

    def kill(number: int) -> None:
        name = f"api-{number + 1}"
        before = stack.restarts(name)
        stack.kill(name)
        until(lambda: stack.restarts(name) > before, within_s=START_S, what=f"{name} to be started again")
        stack.wait_ready(name, within_s=START_S)

    return kill


def conversation_with(stack: Stack) -> Converse:
    """Return the conversation with the API of a stack, in which everybody logs in for a token of their own."""

    async def converse(caller: Caller) -> object:
        return await conversation.converse(caller, lambda: asyncio.to_thread(stack.token))

    return converse


def main() -> int:
    """Run the three trials and print what came of them; returns the exit status."""
    console = Console(highlight=False, soft_wrap=True)
    trials: list[tuple[str, Result]] = []

    def tried(name: str, result: Result) -> None:
        console.print(f"{name}: {result.done} of {CUSTOMERS} customers served")
        trials.append((name, result))

    with remembering_replicas(REPLICAS) as (urls, kill):
        talk_to = remembering.converse
        tried("sessions in memory", asyncio.run(talk(urls, talk_to, kill=None, sticky=False, customers=CUSTOMERS)))
        tried("the same, sticky", asyncio.run(talk(urls, talk_to, kill=kill, sticky=True, customers=CUSTOMERS)))
    console.print(f"starting {REPLICAS} replicas of the API, and what is behind them")
    with Stack(replicas=REPLICAS) as stack:
        apis, ours = stack.addresses.apis, conversation_with(stack)
        tried("Paidonce", asyncio.run(talk(apis, ours, kill=kills_of(stack), sticky=False, customers=CUSTOMERS)))
    console.print(_table(trials))
    lost_in_memory, lost_sticky, lost_ours = (CUSTOMERS - result.done for _, result in trials)
    return 0 if lost_in_memory and lost_sticky and not lost_ours else 1


def _table(trials: Sequence[tuple[str, Result]]) -> Table:
    table = Table(
        "", "replicas killed", "answers", "connections broken", "customers lost", "what the first of them saw"
    )
    for name, result in trials:
        table.add_row(
            name,
            str(result.kills),
            str(result.tally.answers.total()),
            str(result.tally.broken),
            f"{CUSTOMERS - result.done} of {CUSTOMERS}",
            result.faults[0] if result.faults else "",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
