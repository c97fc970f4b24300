"""How does the API start, serve and stop? One process, one event loop, any number of replicas."""

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from sqlalchemy.exc import OperationalError

from paidonce.app import advice, db, log, telemetry
from paidonce.app.api import (
    carts,
    customers,
    docs,
    health,
    me,
    payments,
    provider_webhook,
    refunds,
    trail,
    webhook_endpoint,
)
from paidonce.app.api.edge import Edge
from paidonce.app.api.endpoint import mount, not_found
from paidonce.app.api.heads import CappedProtocol, capped
from paidonce.app.api.openapi import describe
from paidonce.app.api.proof import proving, tls
from paidonce.app.api.services import Services
from paidonce.app.auth.rate_limit import RateLimit
from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier
from paidonce.app.auth.vouched import Vouched
from paidonce.app.carts.store import Carts
from paidonce.app.clock import SystemClock
from paidonce.app.draining import Drain, Server
from paidonce.app.idempotency.guard import Guard
from paidonce.app.messaging.hint import Hinter
from paidonce.app.payments import provider_chosen
from paidonce.app.payments.accepting import Accepting
from paidonce.app.payments.service import Payments
from paidonce.app.settings import Settings
from paidonce.app.unbroken import Unbroken
from paidonce.app.valkey import SharedState

#: The first is the hot one: routes are tried in order.
OPERATIONS = (
    *payments.OPERATIONS,
    *refunds.OPERATIONS,
    *trail.OPERATIONS,
    *customers.OPERATIONS,
    *carts.OPERATIONS,
    *webhook_endpoint.OPERATIONS,
    *provider_webhook.OPERATIONS,
    *me.OPERATIONS,
    *health.OPERATIONS,
    *docs.OPERATIONS,
)
DESCRIPTION = (
    "One key, at most one charge. Amounts are integer minor units. Lists answer `{data, next_cursor}`. "
    "Wherever there is a GET there is a HEAD, and every resource answers OPTIONS with `Allow`. "
    "Every error is a problem document (RFC 9457) with a stable `type` and `code`."
)
#: FastAPI's own spans would double ours (app/tracing.py), and its records of errors hold their words.
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
#: Seconds that an idle connection is kept: longer than a gateway's own (60 by default), or requests meet its end.
KEEP_ALIVE_S = 75
#: Objects made beyond those freed before the collector looks: some hundred requests' worth; the default is 700.
COLLECT_AFTER = 50_000
_log = structlog.get_logger(__name__)


def create_app(settings: Settings, drain: Drain | None = None) -> FastAPI:
    """Return the API; its lifespan opens pools and key set and closes them."""
    app = FastAPI(
        title="Paidonce",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan(settings, drain or Drain()),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.router.default = not_found
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    app.add_middleware(Edge)
    mount(app, OPERATIONS)
    return app


def _lifespan(settings: Settings, drain: Drain) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as opened:
            yield {"services": await _open(settings, drain, opened)}

    return lifespan


async def _open(settings: Settings, drain: Drain, opened: AsyncExitStack) -> Services:
    """Open everything that lives as long as the process; `opened` closes it in reverse order."""
    clock = SystemClock()
    engine = db.async_engine(settings, size=settings.api_connections_max)
    opened.push_async_callback(engine.dispose)
    pool = db.hot_pool(settings, lock_timeout_ms=settings.idempotency_first_wait_ms)
    await pool.open()
    opened.push_async_callback(pool.close)
    trust = Trust(settings, clock)
    opened.push_async_callback(trust.close)
    vouched = Vouched(settings) if settings.api_caller == "gateway" else None
    if vouched is None:
        await trust.open()
    shared = SharedState(settings, clock)
    opened.push_async_callback(shared.close)
    hinter = Hinter(db.libpq_dsn(settings))
    opened.push_async_callback(asyncio.to_thread, hinter.close)
    unbroken = Unbroken()
    opened.push_async_callback(unbroken.settled)
    accepting = Accepting(pool, unbroken, settings)
    return Services(
        settings=settings,
        clock=clock,
        drain=drain,
        engine=engine,
        trust=trust,
        verifier=Verifier(settings, trust, clock),
        vouched=vouched,
        rate_limit=RateLimit(shared, clock, settings),
        payments=Payments(Guard(pool, engine, unbroken, settings), accepting, clock, settings),
        carts=Carts(shared, clock, settings),
        webhooks=provider_chosen.webhooks(settings),
        hinter=hinter,
    )


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then let running requests end (app/draining.py).

    Raises:
        SchemaVersionError: the database has another schema version.
        ConfigurationError: traces are wanted, and their libraries are not installed.
    """
    log.configure("api", settings.log_level)
    telemetry.start(settings.probe_host, settings.metrics_port)
    telemetry.trace("api", settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # until the server is there
    asyncio.run(_check_schema(settings))
    _log.info("serving", host=settings.api_host, port=settings.api_port)
    drain = Drain()
    server = Server(config(settings, drain), drain, drain_s=settings.api_drain_s, stop_s=settings.stop_s)
    _spare_the_collector()
    server.run()
    _log.info("served")


def _spare_the_collector() -> None:
    """Let the garbage collector pass over what lives as long as the process, and come less often (4 % of our time)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def config(settings: Settings, drain: Drain | None = None) -> uvicorn.Config:
    """Return how uvicorn serves the API."""
    return uvicorn.Config(
        create_app(settings, drain),
        host=settings.api_host,
        port=settings.api_port,
        workers=1,
        loop="uvloop",
        http=_protocol(settings),
        ssl_context_factory=tls(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


def _protocol(settings: Settings) -> type[CappedProtocol]:
    protocol = capped(settings.api_head_bytes_max + settings.api_gateway_head_bytes)
    return proving(protocol, settings.api_gateway_name) if settings.api_caller == "gateway" else protocol


async def _check_schema(settings: Settings) -> None:
    """Stop for another schema version; a database that is away only makes /readyz say so."""
    engine = db.async_engine(settings, size=1)
    try:
        async with engine.connect() as tx:
            await tx.run_sync(db.check_schema)
    except OperationalError as error:
        _log.warning("database unavailable", error=advice.of(error))
    finally:
        await engine.dispose()
