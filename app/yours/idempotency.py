"""How does a route of your FastAPI application run once for its key? By a dependency (docs/own-workers.md).

The same guard as Paidonce's own routes have: the key is claimed in the transaction of your work, which keeps the
response too (docs/design.md, "Idempotent HTTP").
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from paidonce.app import db
from paidonce.app.api import problems
from paidonce.app.errors import Problem
from paidonce.app.idempotency import store
from paidonce.app.idempotency.fingerprint import Json, fingerprint
from paidonce.app.idempotency.guard import Guard, Stored
from paidonce.app.idempotency.key import parse_key
from paidonce.app.idempotency.store import Claim
from paidonce.app.settings import Settings
from paidonce.app.settings import settings as from_environment
from paidonce.app.unbroken import Unbroken
from paidonce.app.yours.held import held

JSON = "application/json"
#: Headers that belong to one sending of a response, not to the response.
NOT_KEPT = frozenset({"content-length", "content-type"})

#: Does the route's work in the transaction that it is given, and returns what is answered.
Work = Callable[[Connection], BaseModel | Response]


class Once:
    """Runs a route's work once for the key of one request."""

    def __init__(self, guard: Guard, claim: Claim, status: int) -> None:
        self._guard, self._claim, self._status = guard, claim, status

    async def __call__(self, work: Work) -> Response:
        """Return what `work` answers, or what it answered when the same request came before.

        `work` is a plain function. It runs in one transaction with the claim of the key, does not end that, and writes
        whatever belongs to it with what it is given; what it raises takes all of it back, so a retry runs anew. A model
        is answered as JSON with the route's status; a response with a body of its own as it is.

        Raises:
            Problem: the key was used for another request, is too old, or its first request still runs; or the database
                did not answer. `Idempotency` answers these.
        """
        return _response(await self._guard.once(self._claim, lambda tx: self._answered(tx, work)))

    def _answered(self, tx: Connection, work: Work) -> store.Response:
        with held(tx):
            answer = work(tx)
        if isinstance(answer, BaseModel):
            answer = Response(answer.model_dump_json(by_alias=True), self._status, media_type=JSON)
        if not isinstance(getattr(answer, "body", None), bytes):
            raise TypeError(
                f"the work of {self._claim.endpoint} answered {answer!r}: no model, no response with a body"
            )
        kept = {name: value for name, value in answer.headers.items() if name not in NOT_KEPT}
        return store.Response(answer.status_code, bytes(answer.body), kept | {"content-type": _media_type(answer)})


class Idempotency:
    """The guard of an application's own routes; it opens with the application, and closes with it.

    `once` is the dependency: `run: Annotated[Once, Depends(idempotency.once)]`.
    """

    #: FastAPI calls it for each request of a route that depends on it
    once: Callable[..., Coroutine[Any, Any, Once]]

    def __init__(self, app: FastAPI, *, caller: Callable[..., Any], settings: Settings | None = None) -> None:
        """`caller` is your dependency that says who calls, as a text: two callers' keys never meet.

        The database is that of PAIDONCE_DSN; your work's tables are there too. Refusals are answered as problem
        documents (RFC 9457), by an exception handler that is added to `app`.
        """
        self._settings = settings or from_environment()
        self._guard: Guard | None = None
        self.once = self._dependency(caller)
        app.add_exception_handler(Problem, _refusal)
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(of: Any) -> AsyncIterator[Any]:
            async with self._opened(), inner(of) as state:
                yield state

        app.router.lifespan_context = lifespan

    def _dependency(self, caller: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Once]]:
        async def once(
            request: Request,
            who: Annotated[str, Depends(caller)],
            _key: Annotated[
                str, Header(alias="Idempotency-Key", description="Yours, one for each intent, in every retry the same.")
            ] = "",
        ) -> Once:
            assert self._guard is not None, "the application's lifespan has not begun: run it as a server does"
            route = request.scope["route"]
            return Once(self._guard, await self._claim(request, route.path, who), route.status_code or 200)

        return once

    async def _claim(self, request: Request, path: str, who: str) -> Claim:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Claim(
            tenant=who,
            # Apart from the keys of Paidonce's own API, which are in the same table.
            endpoint=f"own {request.method} {path}",
            key=parse_key(request.headers.getlist("idempotency-key")),
            request_hash=fingerprint(
                method=request.method,
                path=request.url.path,
                query=request.url.query,
                media_type=media_type,
                body=_body(await request.body()),
            ),
            retention=self._settings.key_retention(money=True),
        )

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        settings = self._settings
        async with AsyncExitStack() as opened:
            engine = db.async_engine(settings, size=settings.api_connections_max)
            opened.push_async_callback(engine.dispose)
            async with engine.connect() as tx:
                await tx.run_sync(db.check_schema)
            pool = db.hot_pool(settings, lock_timeout_ms=settings.idempotency_first_wait_ms)
            await pool.open()
            opened.push_async_callback(pool.close)
            unbroken = Unbroken()
            opened.push_async_callback(unbroken.settled)
            self._guard = Guard(pool, engine, unbroken, settings)
            yield


def _body(raw: bytes) -> Json:
    """Return what the fingerprint is made of: JSON by its meaning, anything else by its bytes."""
    try:
        parsed: Json = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return hashlib.sha256(raw).hexdigest()
    return parsed


def _media_type(answer: Response) -> str:
    return answer.headers.get("content-type", JSON)


def _response(stored: Stored) -> Response:
    kept = stored.response
    marked = {"idempotent-replayed": "true"} if stored.replayed else {}
    return Response(kept.body, kept.status, headers=kept.headers | marked)


async def _refusal(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    reply = problems.reply(problem)
    return Response(reply.body, reply.status, headers=dict(reply.headers), media_type=reply.media_type)
