"""A SIGKILL of the simulator forgets nothing that it said: charges, keys, webhooks."""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from paidonce.app.webhooks import signing

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
ERROR = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"

pytestmark = pytest.mark.slow


def charge(reference: str, method: str = "pm_ok") -> dict:
    return {
        "content": json.dumps({"amount": 5, "currency": "EUR", "payment_method": method, "reference": reference}),
        "headers": {"Idempotency-Key": f"charge-{reference}"},
    }


def parted(request: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
    return {name.lower(): value for name, _, value in lines}, body


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_every_charge_that_was_answered_is_there_after_a_kill(start_simulator) -> None:
    simulator = start_simulator()
    answered: dict[str, str] = {}

    async def pay(client: httpx.AsyncClient) -> None:
        while True:
            reference = str(uuid4())
            found = await client.post(simulator.url + "/v1/charges", **charge(reference))
            answered[reference] = found.json()["id"]

    async with httpx.AsyncClient() as client:
        payers = [asyncio.create_task(pay(client)) for _ in range(4)]
        await until(lambda: len(answered) >= 100)
        simulator.kill()
        for payer in payers:
            with suppress(httpx.HTTPError):
                await payer
        simulator.start()
        kept = dict(simulator.rows("SELECT reference, id FROM charges"))
        assert answered.items() <= kept.items()
        repeated = {
            reference: (await client.post(simulator.url + "/v1/charges", **charge(reference))).json()["id"]
            for reference in answered
        }
    assert repeated == answered
    assert simulator.rows("SELECT count(*) FROM charges") == [(len(kept),)]
    assert simulator.rows("SELECT count(*) FROM calls WHERE status IS NULL")[0][0] <= len(payers)


async def test_a_key_that_ran_when_the_simulator_was_killed_can_be_used_again(start_simulator) -> None:
    simulator = start_simulator(slow_s=30)
    async with httpx.AsyncClient(timeout=30) as client:
        running = asyncio.create_task(client.post(simulator.url + "/v1/charges", **charge("r", "pm_slow")))
        await until(lambda: simulator.rows("SELECT 1 FROM calls"))
        second = await client.post(simulator.url + "/v1/charges", **charge("r", "pm_slow"))
        assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_key_running")
        simulator.kill()
        with suppress(httpx.HTTPError):
            await running
    assert simulator.rows("SELECT count(*) FROM charges") == [(0,)]
    simulator.start()
    async with httpx.AsyncClient(timeout=0.2) as client:
        with suppress(httpx.ReadTimeout):
            await client.post(simulator.url + "/v1/charges", **charge("r", "pm_slow"))
    await until(lambda: simulator.rows("SELECT count(*) FROM calls") == [(3,)])


async def test_webhooks_are_signed_retried_and_keep_their_id_across_a_kill(start_simulator, raw_server) -> None:
    taken = asyncio.Event()
    ours = await raw_server(lambda _: NO_CONTENT if taken.is_set() else ERROR)
    simulator = start_simulator(webhook_url=f"{ours.url}/webhooks/provider", secret=SECRET)
    async with httpx.AsyncClient() as client:
        made = (await client.post(simulator.url + "/v1/charges", **charge("r", "pm_declined"))).json()
        await until(lambda: len(ours.requests) >= 2)
        simulator.kill()
        simulator.start()
        before = len(ours.requests)
        await until(lambda: len(ours.requests) > before)
        taken.set()
        await until(lambda: simulator.rows("SELECT due, copies FROM deliveries") == [(None, 0)])
    assert len({parted(request)[0]["webhook-id"] for request in ours.requests}) == 1
    headers, body = parted(ours.requests[-1])
    assert json.loads(body)["type"] == "charge.declined"
    assert json.loads(body)["data"] == made
    Webhook(SECRET).verify(body, headers)
    assert signing.verify(SECRET, headers, body, now=datetime.now(UTC)) == headers["webhook-id"]


async def test_each_object_has_its_event_and_copies_share_an_id(start_simulator, raw_server) -> None:
    ours = await raw_server(lambda _: NO_CONTENT)
    simulator = start_simulator(webhook_url=ours.url, secret=SECRET, webhook_copies=3, webhook_delay_s=0.05)
    async with httpx.AsyncClient() as client:
        good = (await client.post(simulator.url + "/v1/charges", **charge("a", "pm_ok"))).json()
        bad = (await client.post(simulator.url + "/v1/charges", **charge("b", "pm_refund_fails"))).json()
        for charge_id, reference in ((good["id"], "x"), (bad["id"], "y")):
            await client.post(
                simulator.url + "/v1/refunds",
                json={"charge": charge_id, "amount": 1, "reference": reference},
                headers={"Idempotency-Key": reference},
            )
    await until(lambda: len(ours.requests) == 12)
    seen: dict[str, list[str]] = {}
    for headers, body in map(parted, ours.requests):
        event = json.loads(body)
        seen.setdefault(f"{event['type']} {event['data']['reference']}", []).append(headers["webhook-id"])
    assert set(seen) == {"charge.captured a", "charge.captured b", "refund.succeeded x", "refund.failed y"}
    assert all(len(ids) == 3 and len(set(ids)) == 1 for ids in seen.values())


async def test_sigterm_ends_it_cleanly(start_simulator) -> None:
    simulator = start_simulator()
    assert simulator.stop() == 0
