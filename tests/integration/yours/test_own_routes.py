"""One key, one result, for the route of an application of one's own; the database is real, the server is not needed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import psycopg
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from pydantic import BaseModel
from sqlalchemy import Connection, text

from paidonce import Idempotency, Once, outbox
from paidonce.app.errors import ConfigurationError


class Order(BaseModel):
    item: str


class Placed(BaseModel):
    number: int


def caller(x_customer: Annotated[str, Header()] = "ann") -> str:
    return x_customer


def application(settings) -> FastAPI:
    app = FastAPI()
    idempotency = Idempotency(app, caller=caller, settings=settings)

    @app.post("/orders", status_code=201)
    async def place(order: Order, run: Annotated[Once, Depends(idempotency.once)]) -> Response:
        def work(tx: Connection) -> Placed:
            number = tx.scalar(text("INSERT INTO orders (item) VALUES (:item) RETURNING number"), order.model_dump())
            outbox.append(tx, "order.placed", str(number), order)
            if order.item == "coal":
                raise HTTPException(404, "we do not sell coal")
            if order.item == "milk":
                tx.commit()
            return Placed(number=number)

        return await run(work)

    @app.post("/uploads/{name}")
    async def upload(name: str, run: Annotated[Once, Depends(idempotency.once)]) -> Response:
        return await run(lambda _tx: Response(f"<p>{name}</p>", 202, {"Location": f"/{name}"}, "text/html"))

    return app


@asynccontextmanager
async def served(settings) -> AsyncIterator[httpx.AsyncClient]:
    app = application(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client


@pytest.fixture
def orders(settings, database):
    with psycopg.connect(database) as tx:
        tx.execute("CREATE TABLE orders (number serial, item text)")

    def rows() -> tuple[int, int]:
        with psycopg.connect(database) as tx:
            return tx.execute("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM outbox)").fetchone()

    return rows


def key(name: str, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": name} | more


async def test_the_same_request_is_answered_the_same_and_done_once(settings, orders) -> None:
    async with served(settings) as client:
        first = await client.post("/orders", json={"item": "tea"}, headers=key("k"))
        again = await client.post(
            "/orders", content=b'{ "item":"tea" }', headers=key('"k"', **{"Content-Type": "application/json"})
        )
        assert (first.status_code, first.json()) == (201, {"number": 1})
        assert (again.status_code, again.content) == (201, first.content)
        assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
        assert first.headers["content-type"] == again.headers["content-type"] == "application/json"
    assert orders() == (1, 1)


async def test_at_once_and_from_two_processes_it_is_done_once(settings, orders) -> None:
    async with served(settings) as one, served(settings) as other:
        asked = [c.post("/orders", json={"item": "tea"}, headers=key("k")) for c in (one, other) * 5]
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.content for answer in answers if answer.status_code == 201} == {b'{"number":1}'}
    assert orders() == (1, 1)


async def test_what_the_key_refuses_is_a_problem_document(settings, orders) -> None:
    async with served(settings) as client:
        await client.post("/orders", json={"item": "tea"}, headers=key("k"))
        for sent, headers, status, code in [
            ("ink", key("k"), 409, "idempotency-key-reused"),
            ("tea", {}, 400, "idempotency-key-missing"),
            ("tea", key("a b"), 400, "idempotency-key-malformed"),
        ]:
            refused = await client.post("/orders", json={"item": sent}, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (status, code)
            assert refused.headers["content-type"] == "application/problem+json"
    assert orders() == (1, 1)


async def test_two_callers_and_two_routes_share_no_key(settings, orders) -> None:
    async with served(settings) as client:
        for who in ("ann", "bob"):
            await client.post("/orders", json={"item": "tea"}, headers=key("k", **{"X-Customer": who}))
        upload = await client.post("/uploads/a", content=b"\x00\xff", headers=key("k"))
        again = await client.post("/uploads/a", content=b"\x00\xff", headers=key("k"))
        other = await client.post("/uploads/a", content=b"\x00\xfe", headers=key("k"))
    for answer in (upload, again):
        assert (answer.status_code, answer.text, answer.headers["location"]) == (202, "<p>a</p>", "/a")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert other.status_code == 409
    assert orders() == (2, 2)


@pytest.mark.slow
async def test_what_the_work_raises_takes_all_of_it_back_and_a_retry_runs_anew(settings, orders) -> None:
    async with served(settings) as client:
        for _ in range(2):
            assert (await client.post("/orders", json={"item": "coal"}, headers=key("k"))).status_code == 404
        with pytest.raises(ConfigurationError, match="must not end the transaction"):
            await client.post("/orders", json={"item": "milk"}, headers=key("m"))
    assert orders() == (0, 0)


@pytest.mark.slow
async def test_the_route_is_described_with_the_header_it_needs(settings) -> None:
    described = application(settings).openapi()["paths"]["/orders"]["post"]["parameters"]
    assert {one["name"] for one in described if one["in"] == "header"} == {"x-customer", "Idempotency-Key"}
