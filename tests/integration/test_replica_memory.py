"""Does a replica grow with the number of its clients? Thousands come, each with a token, a key, a payment or a cart."""

import asyncio
from uuid import uuid4

import httpx
import psutil
import pytest

from paidonce.app.auth.verifier import VERIFIED_MAX
from paidonce.devstack.issuer.clients import credentials
from paidonce.devstack.stack import Stack

#: Clients of each round: the first fills what is bounded (the cache of verified tokens), the second must add nothing.
CLIENTS = VERIFIED_MAX + 500
TOGETHER = 16
CART = {"currency": "EUR", "items": [{"name": "x", "unit_amount": 1, "quantity": 1}]}
PAYMENT = {"amount": 5, "currency": "EUR", "payment_method": "pm_ok"}
#: Bytes that a process may grow by in a round: the allocator's, and far below one KB a client.
GROWTH_MAX = 3_000_000


async def visit(http: httpx.AsyncClient, stack: Stack, number: int) -> None:
    """Come once as somebody new."""
    form = {"grant_type": "client_credentials", "sub": f"sub-{uuid4().hex}"}
    token = (await http.post(f"{stack.addresses.issuer}/token", data=form, auth=credentials("acme"))).json()
    headers = {"Authorization": f"Bearer {token['access_token']}", "Idempotency-Key": uuid4().hex}
    if number % 2:
        answer = await http.put(f"/v1/carts/{uuid4().hex}", json=CART, headers=headers)
    else:
        answer = await http.post("/v1/payments", json=PAYMENT, headers=headers)
    assert answer.status_code == 201, answer.text


async def round_of(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.addresses.api, trust_env=False, timeout=30) as http:
        numbers = iter(range(CLIENTS))

        async def one_after_the_other() -> None:
            for number in numbers:
                await visit(http, stack, number)

        await asyncio.gather(*(one_after_the_other() for _ in range(TOGETHER)))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_new_clients_leave_nothing_in_a_replica() -> None:
    limits = {"rate_limit_subject": "100/minute", "rate_limit_tenant": "1000000/minute"}
    with Stack(replicas=1, durable=False, overrides=limits) as stack:
        asyncio.run(round_of(stack))
        process = psutil.Process(stack.process("api-1").pid)
        before = process.memory_info().rss
        asyncio.run(round_of(stack))
        grown = process.memory_info().rss - before
    assert grown < GROWTH_MAX, f"{CLIENTS} new clients left {grown / CLIENTS:.0f} bytes each"
