"""Who pays at somebody else's pipeline? The same impatient clients, who only ever pay: by the adapter's requests.

`python -m paidonce.chaos.yours.workload CONFIG` prints `begin` when the load begins and `paid` for
each payment that the clients are through with; everything else is in the history.
"""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import httpx
import orjson

from paidonce.chaos.adapter import Ground, Payment, Pipeline, load
from paidonce.chaos.client import ATTEMPT_S, Client, Request
from paidonce.chaos.history import Recorder
from paidonce.chaos.intents import Intent, intents
from paidonce.chaos.workload import CONNECTIONS_MAX, CUSTOMERS_MAX, say
from paidonce.chaos.yours.links import TENANT

#: The one currency: not every pipeline has several.
CURRENCY = "EUR"
#: The smallest amount and how many there are at least, in minor units: each payment has its own.
AMOUNT_LEAST, AMOUNTS = 100, 50_000
#: Seconds after its answer at which a client sends the payment once more, drawn between the two: by then it is
#: usually charged.
REPLAY_S = (1.0, 3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the workload process is told, as JSON in a file."""

    pipeline: str
    ground: Mapping[str, Any]
    seed: int
    payments: int
    #: seconds over which the payments are spread
    load_s: float
    #: what the provider does with a payment -> its weight
    methods: Mapping[str, int]
    history: str


def wishes(seed: int, payments: int, load_s: float, methods: Mapping[str, int]) -> list[Intent]:
    """Return what the clients want: the plan's payments, but each wanted once, by one tenant, for its own amount."""
    wanted = intents(seed, payments, load_s, methods, twins=False)
    amounts = Random(f"{seed} amounts").sample(range(AMOUNT_LEAST, AMOUNT_LEAST + max(AMOUNTS, 2 * payments)), payments)
    return [
        replace(one, tenant=TENANT, amount=amount, currency=CURRENCY, mismatch=False, cancel=False, refunds=())
        for one, amount in zip(wanted, amounts, strict=True)
    ]


async def run(config: Config) -> None:
    """Make every payment; returns when each client is through."""
    ground = Ground(**{**config.ground, "folder": Path(config.ground["folder"])})
    pipeline = load(config.pipeline)(ground)
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX)
    async with httpx.AsyncClient(limits=limits, timeout=ATTEMPT_S, trust_env=False) as http:
        with Recorder(Path(config.history)) as recorder:
            client = Client(http, pipeline.apis(), {}, recorder)
            wanted = wishes(config.seed, config.payments, config.load_s, config.methods)
            requests = [request(pipeline, intent) for intent in wanted]
            say("begin")
            began, free = monotonic(), asyncio.Semaphore(CUSTOMERS_MAX)
            async with asyncio.TaskGroup() as tasks:
                for intent, one in zip(wanted, requests, strict=True):
                    tasks.create_task(_customer(client, intent, one, began, free))


def request(pipeline: Pipeline, intent: Intent) -> Request:
    """Return what the client sends, as the adapter wants it; the history has it in the run's own words."""
    payment = Payment(
        subject=intent.subject,
        key=intent.key,
        amount=intent.amount,
        currency=intent.currency,
        method=intent.payment_method,
    )
    call = pipeline.call(payment)
    return Request(
        kind="create",
        tenant=TENANT,
        subject=intent.subject,
        method=call.method,
        path=call.path,
        key=intent.key,
        body=call.json,
        headers=call.headers,
        noted={"amount": payment.amount, "currency": payment.currency, "payment_method": payment.method},
        again=pipeline.again,
    )


async def _customer(client: Client, intent: Intent, wanted: Request, began: float, free: asyncio.Semaphore) -> None:
    """Look after one payment from its time on, as soon as somebody is free for it."""
    await asyncio.sleep(max(0.0, began + intent.at_s - monotonic()))
    draw = Random(f"{intent.subject} client")
    async with free:
        first = client.insist(wanted, draw, first_limit_s=intent.impatient_s or ATTEMPT_S)
        copies = [client.insist(wanted, Random(f"{intent.subject} {number}")) for number in range(intent.duplicates)]
        await asyncio.gather(first, *copies)
    if intent.replay:
        await asyncio.sleep(draw.uniform(*REPLAY_S))
        await client.insist(replace(wanted, kind="replay"), draw)
    say("paid")


def main() -> None:
    """Run the workload that the file in the first argument describes."""
    asyncio.run(run(Config(**orjson.loads(Path(sys.argv[1]).read_bytes()))))


if __name__ == "__main__":
    main()
