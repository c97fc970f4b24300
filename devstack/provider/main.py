"""How is the simulator started? `paidonce provider --help`; it runs until SIGTERM or SIGINT."""

import asyncio
import signal
import socket
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import uvicorn
from pydantic_settings import CliApp, CliSettingsSource
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from paidonce.app import log
from paidonce.app.clock import SystemClock
from paidonce.devstack.provider import stripe_form
from paidonce.devstack.provider.behaviour import help_text
from paidonce.devstack.provider.journal import Journal
from paidonce.devstack.provider.options import Options
from paidonce.devstack.provider.resettable import ResettableProtocol
from paidonce.devstack.provider.service import Service
from paidonce.devstack.provider.stripe_service import StripeService, stripe_routes
from paidonce.devstack.provider.webhooks import Sender

#: Seconds that answers under way may take after SIGTERM; pm_timeout is not waited for.
SHUTDOWN_S = 1

DESCRIPTION = f"""A payment provider that moves no money, with a journal of everything it was asked.
The payment method says what happens:

{help_text()}
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM; `argv` by default is the command line's. Prints `{"port": …}` when it listens."""
    source = CliSettingsSource[Any](
        Options, formatter_class=RawDescriptionHelpFormatter, cli_prog_name="paidonce provider"
    )
    source.root_parser.description = DESCRIPTION
    options = CliApp.run(Options, cli_args=list(sys.argv[1:] if argv is None else argv), cli_settings_source=source)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again after it has shut down
        signal.signal(number, lambda *_: sys.exit(0))
    log.configure("provider")
    served = application(options)  # before the port is told: whoever knows it may read the journal
    listener = socket.create_server((options.host, options.port), backlog=1024)
    print(orjson.dumps({"port": listener.getsockname()[1]}).decode(), flush=True)
    config = uvicorn.Config(
        served,
        http=ResettableProtocol,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    uvicorn.Server(config).run(sockets=[listener])


def application(options: Options) -> Starlette:
    """Return the simulator as an ASGI application; its journal is open while it runs."""
    journal, clock = Journal(options.journal), SystemClock()
    if options.dialect == "stripe":
        sender = Sender(journal, options, clock, stripe_form.sign)
        routes = stripe_routes(StripeService(journal, options, clock, sender.wake))
    else:
        sender = Sender(journal, options, clock)
        routes = _routes(Service(journal, options, clock, sender.wake))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sending = asyncio.create_task(sender.run()) if options.sends_webhooks else None
        yield
        if sending:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        journal.close()

    return Starlette(routes=[*routes, Route("/healthz", _health)], lifespan=lifespan)


def _routes(service: Service) -> list[Route]:
    return [
        Route("/v1/charges", service.charges, methods=["POST", "GET"]),
        Route("/v1/refunds", service.refunds, methods=["POST", "GET"]),
    ]


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok")
