"""The HTTP client never repeats a request by itself: what a server counts is what we were asked to send."""

import asyncio
import json

import httpx
import pytest

from paidonce.app.messaging import http_call
from paidonce.app.messaging.answers import NoAnswer, NotSent, Succeeded
from paidonce.app.payments.provider_http import HttpProvider
from paidonce.app.settings import Settings

REQUEST = json.dumps({"amount": 5, "currency": "EUR", "payment_method": "pm_ok", "reference": "p1"}).encode()
CHARGE = json.dumps({"id": "c", "status": "captured", "amount": 5, "currency": "EUR", "reference": "p1"}).encode()
CREATED = f"HTTP/1.1 201 Created\r\nContent-Length: {len(CHARGE)}\r\n\r\n".encode() + CHARGE


async def test_a_kept_connection_that_closes_upon_the_second_request_gets_no_third(raw_server) -> None:
    server = await raw_server(lambda number: CREATED if number == 1 else b"close")
    async with HttpProvider(Settings(provider_url=server.url)) as provider:
        assert isinstance(await provider.charge("k", REQUEST), Succeeded)
        assert isinstance(await provider.charge("k", REQUEST), NoAnswer)
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used(raw_server) -> None:
    server = await raw_server(lambda _: CREATED, hang_up_after_answer=True)
    async with HttpProvider(Settings(provider_url=server.url)) as provider:
        assert isinstance(await provider.charge("k", REQUEST), Succeeded)
        await server.hung_up.wait()
        found = await provider.charge("k", REQUEST)
    # whether the client saw the end of the connection in time is the network's choice: never is there a third
    assert isinstance(found, Succeeded | NoAnswer)
    assert len(server.requests) == (2 if isinstance(found, Succeeded) else 1)


async def test_a_connection_reset_before_the_answer_is_one_request(raw_server) -> None:
    server = await raw_server(lambda _: b"close")
    async with HttpProvider(Settings(provider_url=server.url)) as provider:
        assert isinstance(await provider.charge("k", REQUEST), NoAnswer)
    assert (server.connections, len(server.requests)) == (1, 1)


async def test_a_time_limit_is_one_request_and_the_connection_is_not_used_again(raw_server) -> None:
    server = await raw_server(lambda _: CREATED, gated=True)
    async with HttpProvider(Settings(provider_url=server.url, effect_call_s=1)) as provider:
        assert await provider.charge("first", REQUEST) == NoAnswer("time limit")
        server.gate.set()
        assert isinstance(await provider.charge("second", REQUEST), Succeeded)
    assert len(server.requests) == 2
    assert server.connections == 2, "a late answer to the first must not be read as the second's"


async def test_a_cancelled_call_is_one_request(raw_server) -> None:
    server = await raw_server(lambda _: CREATED, gated=True)
    async with HttpProvider(Settings(provider_url=server.url)) as provider:
        call = asyncio.create_task(provider.charge("k", REQUEST))
        async with asyncio.timeout(5):
            while not server.requests:
                await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(server.requests) == 1


async def test_a_redirect_is_not_followed(raw_server) -> None:
    other = await raw_server(lambda _: CREATED)
    moved = f"HTTP/1.1 307 Temporary\r\nLocation: {other.url}/v1/charges\r\nContent-Length: 0\r\n\r\n".encode()
    server = await raw_server(lambda _: moved)
    async with HttpProvider(Settings(provider_url=server.url)) as provider:
        assert await provider.charge("k", REQUEST) == NoAnswer("status 307")
    assert other.requests == []


async def test_no_proxy_of_the_environment_and_no_cookie(raw_server, monkeypatch) -> None:
    proxy = await raw_server(lambda _: CREATED)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    server = await raw_server(lambda _: CREATED.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n", 1))
    async with HttpProvider(Settings(provider_url=server.url)) as provider:
        await provider.charge("k", REQUEST)
        await provider.charge("k", REQUEST)
    assert proxy.requests == []
    assert len(server.requests) == 2
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_no_free_connection_is_not_sent(raw_server) -> None:
    server = await raw_server(lambda _: CREATED, gated=True)
    async with http_call.client(connections=1, keep_alive=True) as client:

        async def call(limit_s: float):
            request = client.build_request("POST", server.url, content=REQUEST)
            return await http_call.call_once(client, request, limit_s=limit_s, body_bytes_max=1000)

        first = asyncio.create_task(call(5))
        async with asyncio.timeout(5):
            while not server.requests:
                await asyncio.sleep(0)
        assert await call(0.2) == NotSent("PoolTimeout")
        server.gate.set()
        assert isinstance(await first, http_call.Reply)
    assert len(server.requests) == 1


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_calls_that_are_cut_off_at_any_moment_use_up_no_connection(raw_server, keep_alive: bool) -> None:
    """The library forgets a connection that it gave to a call which was cut off right then, and never frees it."""
    server = await raw_server(lambda _: CREATED)
    async with http_call.client(connections=2, keep_alive=keep_alive) as client:

        async def call(limit_s: float):
            request = client.build_request("POST", server.url, content=REQUEST)
            return await http_call.call_once(client, request, limit_s=limit_s, body_bytes_max=1000)

        for limit_s in (0, 0, 0.001, 0.002, 0, 0.005, 0):
            await asyncio.gather(*(call(limit_s) for _ in range(4)))
        found = [await call(5) for _ in range(4)]
    assert [type(one) for one in found] == [http_call.Reply] * 4


async def test_a_call_under_way_ends_well_although_another_was_cut_off(raw_server) -> None:
    server = await raw_server(lambda _: CREATED, gated=True)
    async with http_call.client(connections=2, keep_alive=True) as client:

        async def call(limit_s: float):
            request = client.build_request("POST", server.url, content=REQUEST)
            return await http_call.call_once(client, request, limit_s=limit_s, body_bytes_max=1000)

        first = asyncio.create_task(call(5))
        async with asyncio.timeout(5):
            while not server.requests:
                await asyncio.sleep(0)
        lent = client._pool.http
        assert await call(0) == NoAnswer("time limit")
        assert client._pool.http is not lent
        server.gate.set()
        assert isinstance(await first, http_call.Reply)
        assert lent.is_closed, "nobody uses the replaced connections any more"


async def test_a_port_that_speaks_no_tls_is_not_sent(raw_server) -> None:
    server = await raw_server(lambda _: b"close")
    async with http_call.client(connections=1, keep_alive=True) as client:
        request = client.build_request("POST", f"https://127.0.0.1:{server.port}/", content=REQUEST)
        found = await http_call.call_once(client, request, limit_s=1, body_bytes_max=1000)
    assert isinstance(found, NotSent)
    assert not any(REQUEST in request for request in server.requests)


def test_the_library_still_says_no_connection_as_we_read_it() -> None:
    """A subclass among them that is raised after a byte was sent would turn unknown into "not done"."""
    for after_sending in (httpx.ReadError, httpx.WriteError, httpx.ReadTimeout, httpx.RemoteProtocolError):
        assert not issubclass(after_sending, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
