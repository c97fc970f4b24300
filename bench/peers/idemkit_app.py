"""What does idemkit cost, with its PostgreSQL store, in front of the same work?

The route checks the same token (joserfc, verified tokens kept by hash) and the same body, and
writes the same payment and outbox event, in one statement through psycopg's pool. In front of it
stands idemkit's middleware as its README has it, with a pool of as many connections. Logs are off.
"""

import hashlib
import json
import os
import secrets
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from idemkit import HttpConfig, IdempotencyMiddleware, PostgresBackend
from joserfc import jwt
from joserfc.jwk import KeySet
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

DSN = os.environ["BENCH_DSN"]
CONNECTIONS = int(os.environ["BENCH_CONNECTIONS"])

WORK = """
WITH payment AS (
    INSERT INTO payments (id, tenant, status, amount, currency, payment_method, customer_id, reference,
                          description, metadata, version, created_at, updated_at)
    VALUES (%(id)s, %(tenant)s, 'pending', %(amount)s, %(currency)s, %(payment_method)s, %(customer_id)s,
            %(reference)s, %(description)s, %(metadata)s, 1, %(created_at)s, %(created_at)s)
)
INSERT INTO outbox (id, aggregatetype, aggregateid, type, sequence, payload, headers)
VALUES (%(event_id)s, 'payment', %(aggregateid)s, 'payment.accepted', 1, %(payload)s, '{}')
"""


class Draft(BaseModel):
    """The same body, under the same rules."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    amount: Annotated[int, Field(ge=1, le=99_999_999_999)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    payment_method: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]
    customer_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~:@-]{1,128}$")] | None = None
    reference: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    description: Annotated[str, StringConstraints(min_length=1, max_length=1_000)] | None = None
    metadata: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=64)],
            Annotated[str, StringConstraints(max_length=500)],
        ],
        Field(max_length=50),
    ] = Field(default_factory=dict)


def uuid7() -> UUID:
    """Return a UUIDv7, as ours are: ids that sort by time are cheap for an index."""
    random = secrets.randbits(74)
    time_ms = time.time_ns() // 1_000_000
    return UUID(int=time_ms << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1)


class Tokens:
    """Verified tokens by their hash, checked once by joserfc."""

    def __init__(self) -> None:
        with urllib.request.urlopen(os.environ["BENCH_JWKS"]) as answer:  # noqa: S310  loopback
            self._keys = KeySet.import_key_set(json.load(answer))
        self._rules = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": os.environ["BENCH_ISSUER"]},
            aud={"essential": True, "value": "paidonce"},
            exp={"essential": True},
            sub={"essential": True},
            leeway=120,
        )
        self._verified: dict[bytes, dict[str, Any]] = {}

    def claims(self, authorization: str) -> dict[str, Any]:
        """Return the claims of the bearer token; raises a JoseError for any other."""
        digest = hashlib.sha256(authorization.encode()).digest()
        claims = self._verified.get(digest)
        if claims is None or claims["exp"] < time.time():
            token = jwt.decode(authorization.removeprefix("Bearer "), self._keys, algorithms=["RS256"])
            self._rules.validate(token.claims)
            claims = self._verified[digest] = token.claims
        return claims


def create_app() -> FastAPI:
    """Return the peer: idemkit in front of the same work."""
    pool = AsyncConnectionPool(
        DSN, min_size=2, max_size=CONNECTIONS, open=False, kwargs={"autocommit": True, "prepare_threshold": 0}
    )
    tokens = Tokens()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await pool.open()
        yield
        await pool.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/payments", status_code=201)
    async def create(draft: Draft, request: Request) -> Response:
        claims = tokens.claims(request.headers.get("authorization", ""))
        if "payments:write" not in claims["scope"].split():
            raise HTTPException(403)
        now = datetime.now(UTC)
        payment_id, document = uuid7(), draft.model_dump()
        shown = {name: value for name, value in document.items() if name != "payment_method"}
        shown |= {"id": str(payment_id), "object": "payment", "status": "pending", "amount_refunded": 0}
        shown |= {"decline_code": None, "created_at": now.isoformat(), "updated_at": now.isoformat()}
        event = {"tenant": claims["tenant"], "type": "payment.accepted", "data": {"payment": shown}}
        parameters = document | {
            "id": payment_id,
            "tenant": claims["tenant"],
            "metadata": Jsonb(draft.metadata),
            "created_at": now,
            "event_id": uuid7(),
            "aggregateid": str(payment_id),
            "payload": json.dumps(event).encode(),
        }
        async with pool.connection() as connection:
            await connection.execute(WORK, parameters)
        headers = {"location": f"/v1/payments/{payment_id}", "etag": '"1"'}
        return Response(json.dumps(shown).encode(), 201, headers, media_type="application/json")

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    app.add_middleware(
        IdempotencyMiddleware,
        backend=PostgresBackend.from_url(DSN, max_size=CONNECTIONS),
        config=HttpConfig(scope=lambda request: request.headers.get("authorization", "")),
    )
    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(), port=int(os.environ["BENCH_PORT"]), loop="uvloop", http="httptools", access_log=False, ws="none"
    )
