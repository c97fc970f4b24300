"""Who makes the load? Clients in a process of their own, by the plan, against all API replicas.

`python -m paidonce.chaos.workload CONFIG` prints `begin` when the load begins and `paid` for
each payment that the clients are through with; everything else is in the history.
"""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from time import monotonic

import httpx
import orjson

from paidonce.chaos.checkers.answers import FINAL
from paidonce.chaos.client import ATTEMPT_S, Client, Request
from paidonce.chaos.history import Recorder
from paidonce.chaos.intents import Intent, intents
from paidonce.chaos.tokens import first_tokens, renew

#: Seconds between two looks at a payment, at first and at most: the readers must not be the load.
READ_FIRST_S, READ_MOST_S = 0.3, 1.5
#: Payments that are looked after at once: on a slow machine the load stretches instead of piling up.
CUSTOMERS_MAX = 60
#: Connections to all replicas together: a stampede and its neighbours do not wait for one another.
CONNECTIONS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a workload process is told, as JSON in a file."""

    seed: int
    payments: int
    #: seconds over which the payments are spread
    load_s: float
    #: what the provider does with a payment -> its weight
    methods: Mapping[str, int]
    apis: tuple[str, ...]
    history: str
    #: seconds that a client waits for its payment to become final before it leaves that to the drain
    patience_s: float
    #: where the tenants get their tokens
    issuer: str
    #: tenant -> (URL, secret) of its webhook endpoint
    endpoints: Mapping[str, tuple[str, str]]


async def run(config: Config) -> None:
    """Register the endpoints, then make every payment of the plan; returns when each client is through."""
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX)
    # trust_env off: a proxy of the machine has no business between two loopback ports
    async with httpx.AsyncClient(limits=limits, timeout=ATTEMPT_S, trust_env=False) as http:
        with Recorder(Path(config.history)) as recorder:
            tokens = await first_tokens(config.issuer, [*config.endpoints])
            client = Client(http, config.apis, tokens, recorder)
            for tenant, (url, secret) in config.endpoints.items():
                await register(client, tenant, url, secret)
            wanted = intents(config.seed, config.payments, config.load_s, config.methods)
            say("begin")
            began, free = monotonic(), asyncio.Semaphore(CUSTOMERS_MAX)
            renewing = asyncio.create_task(renew(config.issuer, tokens))
            async with asyncio.TaskGroup() as tasks:
                for intent in wanted:
                    tasks.create_task(_customer(client, intent, began, free, config.patience_s))
            renewing.cancel()


async def register(client: Client, tenant: str, url: str, secret: str) -> None:
    """Set the tenant's webhook endpoint; raises SystemExit when nobody takes it."""
    path, body = "/v1/webhook-endpoint", {"url": url, "secret": secret}
    # The history is kept and passed on: what signs webhooks has no place in it.
    noted = {"url": url}
    request = Request(kind="register", tenant=tenant, subject=tenant, method="PUT", path=path, body=body, noted=noted)
    reply = await client.insist(request, Random(tenant))
    if reply.outcome != "ok":
        said = reply.response.text if reply.response is not None else "no answer"
        raise SystemExit(f"the webhook endpoint of {tenant} could not be registered: {said}")


async def _customer(client: Client, intent: Intent, began: float, free: asyncio.Semaphore, patience_s: float) -> None:
    """Look after one payment from its time on, as soon as somebody is free for it."""
    await asyncio.sleep(max(0.0, began + intent.at_s - monotonic()))
    async with free:
        await pay(client, intent, patience_s)
    say("paid")


async def pay(client: Client, intent: Intent, patience_s: float) -> None:
    """Create, duplicate, cancel, wait, refund, replay: whatever the plan says."""
    draw = Random(f"{intent.subject} client")
    payment = await _create(client, intent, draw)
    if payment is None:
        return
    if intent.mismatch:
        other = replace(intent, amount=intent.amount + 1)
        await client.insist(_create_request(other, "mismatch"), draw)
    if intent.cancel:
        await client.insist(_cancel_request(intent, payment), draw)
    if await _until_final(client, intent, payment, draw, patience_s) == "captured":
        await _refund(client, intent, payment, draw)
    if intent.replay:
        await client.insist(_create_request(intent, "replay"), draw)


async def _create(client: Client, intent: Intent, draw: Random) -> str | None:
    """Send the payment and its duplicates at once; returns its id, None when nobody got an answer."""
    request = _create_request(intent, "create")
    first = client.insist(request, draw, first_limit_s=intent.impatient_s or ATTEMPT_S)
    copies = [client.insist(request, Random(f"{intent.subject} {number}")) for number in range(intent.duplicates)]
    replies = await asyncio.gather(first, *copies)
    return next((str(reply.document["id"]) for reply in replies if reply.outcome == "ok"), None)


async def _until_final(client: Client, intent: Intent, payment: str, draw: Random, patience_s: float) -> str | None:
    """Read until the payment is final; returns its status, None when it took too long or is not shown at all."""
    read = Request(
        kind="read", tenant=intent.tenant, subject=intent.subject, method="GET", path=f"/v1/payments/{payment}"
    )
    give_up, pause_s = monotonic() + patience_s, READ_FIRST_S
    while monotonic() < give_up:
        reply = await client.attempt(read, draw)
        status = reply.document.get("status") if reply.outcome == "ok" else None
        if status in FINAL:
            return str(status)
        if reply.outcome == "fail":
            return None
        await asyncio.sleep(pause_s * draw.uniform(0.6, 1.4))
        pause_s = min(READ_MOST_S, pause_s * 1.5)
    return None


async def _refund(client: Client, intent: Intent, payment: str, draw: Random) -> None:
    requests = [
        Request(
            kind="refund",
            tenant=intent.tenant,
            subject=wish.subject,
            method="POST",
            path=f"/v1/payments/{payment}/refunds",
            key=f"refund-{wish.subject}",
            body={"reason": wish.subject} | ({"amount": wish.amount} if wish.amount else {}),
        )
        for wish in intent.refunds
    ]
    # Each is sent twice at once: a refund is money too.
    copies = [client.insist(request, Random(f"{request.key} {draw.random()}")) for request in requests * 2]
    await asyncio.gather(*copies)


def _create_request(intent: Intent, kind: str) -> Request:
    return Request(
        kind=kind,
        tenant=intent.tenant,
        subject=intent.subject,
        method="POST",
        path="/v1/payments",
        key=intent.key,
        body={
            "amount": intent.amount,
            "currency": intent.currency,
            "payment_method": intent.payment_method,
            "reference": intent.subject,
        },
    )


def _cancel_request(intent: Intent, payment: str) -> Request:
    return Request(
        kind="cancel",
        tenant=intent.tenant,
        subject=intent.subject,
        method="POST",
        path=f"/v1/payments/{payment}/cancel",
        key=f"cancel-{intent.subject}",
    )


def say(word: str) -> None:
    """Tell whoever started this process."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the workload that the file in the first argument describes."""
    asyncio.run(run(Config(**orjson.loads(Path(sys.argv[1]).read_bytes()))))


if __name__ == "__main__":
    main()
