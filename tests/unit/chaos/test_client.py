"""Is the client careful? It asks again under one key after anything that leaves it in doubt, and writes all of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx
import orjson
import pytest
import uvicorn

from paidonce.chaos.checkers.answers import same_key_same_answer
from paidonce.chaos.client import Client, Request
from paidonce.chaos.facts import Facts
from paidonce.chaos.history import Operation, Recorder, operations
from paidonce.chaos.workload import register

REQUEST = Request(
    kind="create",
    tenant="acme",
    subject="s-1",
    method="POST",
    path="/v1/payments",
    key="pay-s-1",
    body={"amount": 1, "currency": "EUR"},
)
PAID = orjson.dumps({"id": "p-1", "status": "pending"})

#: what the server does on its n-th request: status, headers and body, or an exception to raise
Answer = tuple[int, dict[str, str], bytes] | BaseException
OK: Answer = (201, {"content-type": "application/json"}, PAID)
RUNNING: Answer = (
    409,
    {"content-type": "application/problem+json", "retry-after": "0"},
    b'{"code": "request-in-progress"}',
)


class Server:
    """Answers by a script, the last line for ever."""

    def __init__(self, *script: Answer | float) -> None:
        self.script, self.seen = list(script), []
        self.got: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        body = (await receive())["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.got.append({"key": headers.get("idempotency-key"), "auth": headers.get("authorization"), "body": body})
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            answer = OK
        if isinstance(answer, BaseException):
            raise answer
        status, kept, content = answer
        pairs = [(name.encode(), value.encode()) for name, value in kept.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    runner = uvicorn.Server(uvicorn.Config(server, lifespan="off", log_level="critical"))
    task = asyncio.create_task(runner.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        runner.should_exit = True
        await task


async def insist(
    server: Server, path: Path, *, dead: str = "", first_limit_s: float = 5.0, seed: int = 2
) -> list[Operation]:
    """Let a client insist on the request, and return its history."""
    async with serving(server) as url, httpx.AsyncClient(trust_env=False) as http:
        with Recorder(path) as recorder:
            client = Client(http, [url, dead] if dead else [url], {"acme": "token-1"}, recorder)
            reply = await client.insist(REQUEST, Random(seed), first_limit_s=first_limit_s)
            assert reply.document == orjson.loads(PAID)
    return operations(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


async def test_an_answer_is_asked_for_once(path: Path) -> None:
    server = Server(OK)
    (op,) = await insist(server, path)
    assert (op.outcome, op.status, op.body) == ("ok", 201, PAID.decode())
    assert server.got == [
        {"key": "pay-s-1", "auth": "Bearer token-1", "body": b'{"amount":1,"currency":"EUR"}'},
    ]


@pytest.mark.parametrize(
    ("first", "outcome"),
    [
        ((503, {"retry-after": "0"}, b"{}"), "info"),
        ((500, {}, b"oh"), "info"),
        (RUNNING, "fail"),
        (RuntimeError("the server dies"), "info"),
    ],
)
async def test_doubt_is_asked_again_under_the_same_key(path: Path, first: Answer, outcome: str) -> None:
    server = Server(first, first, OK)
    found = await insist(server, path)
    assert [op.outcome for op in found] == [outcome, outcome, "ok"]
    assert {(one["key"], one["body"]) for one in server.got} == {("pay-s-1", b'{"amount":1,"currency":"EUR"}')}


async def test_giving_up_too_early_is_unknown_and_asked_again(path: Path) -> None:
    found = await insist(Server(0.5, OK), path, first_limit_s=0.05)
    assert [(op.outcome, op.status) for op in found] == [("info", None), ("ok", 201)]
    assert found[0].error == "TimeoutError"


async def test_a_dead_replica_is_gone_round(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}"
    seed = next(n for n in range(100) if Random(n).choice([1, 2]) == 2)
    found = await insist(Server(OK), path, dead=dead, seed=seed)
    assert found[-1].outcome == "ok"
    assert [(op.api, op.error) for op in found[:-1]] == [(dead, "ConnectError")]


async def test_retry_after_is_respected(path: Path) -> None:
    found = await insist(Server((503, {"retry-after": "1"}, b"{}"), OK), path)
    assert found[0].ended is not None
    assert found[1].began - found[0].ended >= 1.0


async def test_a_refusal_is_final(path: Path) -> None:
    refused = (409, {"content-type": "application/problem+json"}, b'{"code": "idempotency-key-reused"}')
    async with serving(Server(refused)) as url, httpx.AsyncClient(trust_env=False) as http:
        with Recorder(path) as recorder:
            reply = await Client(http, [url], {"acme": "t"}, recorder).insist(REQUEST, Random(1))
    assert (reply.outcome, reply.document["code"]) == ("fail", "idempotency-key-reused")
    assert len(operations(path)) == 1


async def test_what_the_client_wrote_convicts_a_server_that_does_the_work_twice(path: Path) -> None:
    """The client and its checker together: a server without idempotency is found out."""
    first, second = ((201, {"content-type": "application/json"}, b'{"id": "p-%d"}' % n) for n in (1, 2))
    async with serving(Server(first, second)) as url, httpx.AsyncClient(trust_env=False) as http:
        with Recorder(path) as recorder:
            client = Client(http, [url], {"acme": "t"}, recorder)
            await asyncio.gather(*(client.insist(REQUEST, Random(n)) for n in range(2)))
    examined, violations = same_key_same_answer(Facts(operations=operations(path)))
    assert examined == 1
    assert [violation.what for violation in violations] == [
        "key pay-s-1 got 2 different answers",
        "the work of key pay-s-1 was done more than once",
    ]


async def test_a_registration_leaves_no_secret_in_the_history(path: Path) -> None:
    server = Server(OK)
    async with serving(server) as url, httpx.AsyncClient(trust_env=False) as http:
        with Recorder(path) as recorder:
            client = Client(http, [url], {"acme": "t"}, recorder)
            await register(client, "acme", "http://127.0.0.1:1/acme", "whsec_never-tell")
    assert b"whsec_never-tell" in server.got[0]["body"]
    (op,) = operations(path)
    assert (op.kind, op.request) == ("register", {"url": "http://127.0.0.1:1/acme"})
    assert b"never-tell" not in path.read_bytes()


async def test_headers_of_its_own_are_all_that_is_sent_and_later_is_asked_again(path: Path) -> None:
    server = Server((409, {}, b"{}"), (429, {"retry-after": "0"}, b"{}"), OK)
    wanted = replace(REQUEST, headers={"X-Key": "k"}, again=(409, 429), noted={"amount": 1})
    async with serving(server) as url, httpx.AsyncClient(trust_env=False) as http:
        with Recorder(path) as recorder:
            reply = await Client(http, [url], {"acme": "t"}, recorder).insist(wanted, Random(1))
    assert reply.outcome == "ok"
    assert [(one["key"], one["auth"]) for one in server.got] == [(None, None)] * 3
    assert {op.request["amount"] for op in operations(path)} == {1}
