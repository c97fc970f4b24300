"""How does the console start, serve and stop? `paidonce console`: a process of its own, on a port of its own."""

import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from paidonce.app import db, log, telemetry
from paidonce.app.api.heads import capped
from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier
from paidonce.app.clock import SystemClock
from paidonce.app.draining import Drain, Server
from paidonce.app.settings import Settings
from paidonce.console import decisions, letters, operators, payments
from paidonce.console.codes import Codes
from paidonce.console.desk import Desk, desk_of
from paidonce.console.edge import Edge
from paidonce.console.guarded import done, shown
from paidonce.console.login import callback, login, logout
from paidonce.console.overview import overview
from paidonce.console.pages import HERE, Pages
from paidonce.console.place import place
from paidonce.console.refusals import HANDLERS, failed
from paidonce.console.sealed import Seal
from paidonce.console.session import Sessions
from paidonce.console.watch import Watch

#: Pages are made in threads, each with a connection.
CONNECTIONS = 4
#: Bytes of a request's head: two cookies of 4 KB, and what browsers send.
HEAD_BYTES_MAX = 16_384
_STATIC = {"/style.css": "text/css", "/icon.svg": "image/svg+xml"}
_log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> Starlette:
    """Return the console.

    Raises:
        ConfigurationError: it would not be safe as the settings are.
    """
    here = place(settings)
    app = Starlette(
        routes=_routes(),
        # What nobody foresaw is answered inside the edge, too: Starlette's own place for it is outside.
        middleware=[Middleware(Edge, here=here), Middleware(ServerErrorMiddleware, handler=failed)],
        exception_handlers=HANDLERS,
        lifespan=_lifespan(settings, Seal(settings), operators.narrowed(settings)),
    )
    # It would lead to the host that the request's header names, and from https to http.
    app.router.redirect_slashes = False
    return app


def _routes() -> list[Route]:
    letter = "/dead-letters/{letter_id:int}"
    return [
        Route("/", shown(overview)),
        Route("/search", shown(payments.search)),
        Route("/payments/{payment_id:uuid}", shown(payments.payment)),
        Route("/dead-letters", shown(letters.letters)),
        Route(letter, shown(letters.letter)),
        Route(f"{letter}/redrive", done(letters.redrive), methods=["POST"]),
        Route(f"{letter}/discard", done(letters.discard), methods=["POST"]),
        Route("/effects", shown(decisions.effects)),
        Route("/brakes/{consumer}", shown(decisions.brake)),
        Route("/brakes/{consumer}/release", done(decisions.release), methods=["POST"]),
        Route("/audit", shown(decisions.decided)),
        Route("/login", login),
        Route("/callback", callback),
        Route("/logout", done(logout), methods=["POST"]),
        Route("/healthz", _healthz),
        Route("/readyz", _readyz),
        *(Route(path, _static(path)) for path in _STATIC),
    ]


def _lifespan(
    settings: Settings, seal: Seal, narrowed: Settings
) -> Callable[[Starlette], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as opened:
            yield {"desk": await _open(settings, seal, narrowed, opened)}

    return lifespan


async def _open(settings: Settings, seal: Seal, narrowed: Settings, opened: AsyncExitStack) -> Desk:
    """Open everything that lives as long as the process; `opened` closes it in reverse order."""
    clock, here = SystemClock(), place(settings)
    engine = db.engine(settings, size=CONNECTIONS, silence_s=db.ANSWER_S)
    opened.callback(engine.dispose)
    trust = Trust(narrowed, clock)
    opened.push_async_callback(trust.close)
    await trust.open()
    secret = settings.console_client_secret.get_secret_value()
    codes = Codes(operators.issuer(settings).issuer, settings.console_client_id, secret, here)
    opened.push_async_callback(codes.close)
    watch = Watch(settings, clock)
    opened.callback(watch.stop)
    watch.start()
    sessions = Sessions(settings, seal, Verifier(narrowed, trust, clock), here, clock)
    return Desk(settings, clock, here, engine, trust, seal, codes, sessions, watch, Pages(watch, clock))


async def _healthz(_request: Request) -> Response:
    """Tell that the process runs."""
    return Response()


async def _readyz(request: Request) -> Response:
    """Tell that somebody could log in, and that the last look found PostgreSQL."""
    desk = desk_of(request)
    look = desk.watch.last()
    return Response(status_code=200 if desk.trust.usable() and look is not None and look.status is not None else 503)


def _static(path: str) -> Callable[[Request], Any]:
    async def answer(_request: Request) -> Response:
        return FileResponse(HERE / "static" / path[1:], media_type=_STATIC[path])

    return answer


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: it would not be safe as the settings are.
    """
    log.configure("console", settings.log_level)
    telemetry.start(settings.probe_host, settings.metrics_port)
    telemetry.trace("console", settings)
    app = create_app(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # until the server is there
    _log.info("serving", host=settings.console_host, port=settings.console_port)
    config = uvicorn.Config(
        app,
        host=settings.console_host,
        port=settings.console_port,
        workers=1,
        http=capped(HEAD_BYTES_MAX),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nobody's header may choose an address: none is looked at.
        proxy_headers=False,
    )
    Server(config, Drain(), drain_s=0.0, stop_s=settings.stop_s).run()
    _log.info("served")
