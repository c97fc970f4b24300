"""Does it matter which replica gets a request? `make demo-stateless` tries it three times, and says.

Exit status 0: the servers that remember lost customers, and ours none.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random

import httpx
from rich.console import Console
from rich.table import Column, Table

from paidonce.chaos.stateless import conversation, remembering
from paidonce.chaos.stateless.caller import Caller, Tally, UnexpectedError
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Command, Process
from paidonce.devstack.runs import Run
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until

REPLICAS = 4
#: Customers at least; more come until each replica was killed once.
CUSTOMERS = 40
OURS = "Paidonce, any replica"
#: Customers at once: enough to be in the middle of something wherever a replica dies.
TOGETHER = 8
#: Answers between two kills.
KILL_EVERY = 40
#: Seconds for a replica to start again: 2 on a quiet machine.
START_S = 60.0

#: One person logs in for all customers, and from one address: more than they come to.
LOGINS_PER_MINUTE = 10_000

Converse = Callable[[Caller], Awaitable[object]]
#: Ends the replica of that number, and returns once it is up again.
Kill = Callable[[int], None]


@dataclass
class Result:
    """What became of the customers, and what it took."""

    tally: Tally
    came: int = 0
    kills: int = 0
    #: what each that was lost saw
    faults: list[str] = field(default_factory=list)


async def talk(
    replicas: Sequence[str],
    converse: Converse,
    *,
    kill: Kill | None,
    kills: int,
    sticky: bool,
    customers: int,
    together: int = TOGETHER,
) -> Result:
    """Let customers, `together` at once, talk to the replicas until `customers` came and `kills` replicas died.

    They die one after the other: `kill(number)` ends one and returns once it is up again. A `sticky` customer stays
    with one replica.
    """
    result = Result(Tally())

    async def killer(end: Kill) -> None:
        while True:
            await result.tally.more(KILL_EVERY)
            await asyncio.to_thread(end, result.kills % len(replicas))
            result.kills += 1

    async def customer_after_customer(http: httpx.AsyncClient) -> None:
        while result.came < customers or result.kills < kills:
            number, result.came = result.came, result.came + 1
            choose = partial(_always, number) if sticky else None
            try:
                await converse(Caller(http, replicas, result.tally, Random(number), choose))
            except UnexpectedError as fault:
                result.faults.append(str(fault))

    async with httpx.AsyncClient(trust_env=False, timeout=20.0) as http:
        killing = [asyncio.create_task(killer(kill))] if kill else []
        await asyncio.gather(*(customer_after_customer(http) for _ in range(together)))
        for task in killing:
            task.cancel()
        await asyncio.gather(*killing, return_exceptions=True)
    return result


def _always(number: int, replicas: Sequence[str]) -> str:
    return replicas[number % len(replicas)]


@contextmanager
def remembering_replicas(count: int) -> Iterator[tuple[list[str], Kill]]:
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


def kills_of(stack: Stack) -> Kill:
    """Return what kills one of a stack's API replicas, and waits until it has been started again and is ready."""

    def kill(number: int) -> None:
        name = f"api-{number + 1}"
        before = stack.restarts(name)
        stack.kill(name)
        until(lambda: stack.restarts(name) > before, within_s=START_S, what=f"{name} to be started again")
        stack.wait_ready(name, within_s=START_S)

    return kill


def conversation_with(stack: Stack) -> Converse:
    """Return the conversation with the API of a stack, in which a person logs in each time: password, code, PKCE."""

    async def converse(caller: Caller) -> object:
        return await conversation.converse(caller, lambda: asyncio.to_thread(stack.person_token))

    return converse


def main() -> int:
    """Run the three trials and print what came of them; returns the exit status."""
    console = Console(highlight=False, soft_wrap=True)
    trials: dict[str, Result] = {}
    with remembering_replicas(REPLICAS) as (urls, kill):
        trials["in memory, any server"] = _tried(console, urls, remembering.converse)
        trials["in memory, sticky"] = _tried(console, urls, remembering.converse, kill=kill, sticky=True)
    console.print(f"starting {REPLICAS} replicas of the API, and what is behind them")
    with Stack(replicas=REPLICAS, logins_per_minute=LOGINS_PER_MINUTE) as stack:
        trials[OURS] = _tried(console, stack.addresses.apis, conversation_with(stack), kill=kills_of(stack))
    console.print(_table(trials))
    for name, result in trials.items():
        if result.faults:
            console.print(f"{name}, the first that was lost saw: {result.faults[0]}", markup=False)
    lost = {name: bool(result.faults) for name, result in trials.items()}
    return 0 if not lost.pop(OURS) and all(lost.values()) else 1


def _tried(
    console: Console, urls: Sequence[str], converse: Converse, *, kill: Kill | None = None, sticky: bool = False
) -> Result:
    kills = REPLICAS if kill else 0
    result = asyncio.run(talk(urls, converse, kill=kill, kills=kills, sticky=sticky, customers=CUSTOMERS))
    console.print(f"{result.came} customers came, {len(result.faults)} were lost")
    return result


def _table(trials: Mapping[str, Result]) -> Table:
    table = Table(Column("state", no_wrap=True), "killed", "customers", "answers", "cut off", "lost")
    for name, result in trials.items():
        numbers = (result.kills, result.came, result.tally.answers.total(), result.tally.broken, len(result.faults))
        table.add_row(name, *map(str, numbers))
    return table


if __name__ == "__main__":
    sys.exit(main())
