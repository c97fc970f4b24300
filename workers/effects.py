"""Who calls the outside? The effects worker: one lane a kind, on asyncio, any number of workers.

On SIGTERM it claims no more, lets the calls under way end (each has its time limit), and exits.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app import db
from paidonce.app.breaker import Breaker
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.messaging.effect_kinds import Kind
from paidonce.app.messaging.hint import Hinter, effects_of
from paidonce.app.payments.effect_kinds import ChargeKind, RefundKind
from paidonce.app.payments.provider_chosen import open_provider
from paidonce.app.settings import Settings
from paidonce.app.webhooks.delivery import Delivery
from paidonce.app.webhooks.effect_kind import WebhookKind
from paidonce.app.yours import executors
from paidonce.workers import runner
from paidonce.workers.effect_lane import Lane
from paidonce.workers.effects_meter import know, measure, watch
from paidonce.workers.effects_wake import listen

#: Database connections: a claim or a settlement holds one for some milliseconds, a call none.
CONNECTIONS = 8

#: Opens the kinds that a worker carries out, with what they hold open; `bind` is the worker's.
OpenKinds = Callable[[Settings, AsyncEngine], AbstractAsyncContextManager[Iterable[Kind]]]


def main(settings: Settings, *, modules: Sequence[str] = ()) -> None:
    """Carry out charges, refunds and webhooks until SIGTERM or SIGINT, or what the executors in `modules` do.

    Yours have a process of their own, so that neither can take the other down; raises as `run` does, and
    ConfigurationError where there are none.
    """
    if not modules:
        run(settings, payment_kinds)
        return
    yours = executors.found(modules)

    @asynccontextmanager
    async def open_yours(_settings: Settings, _bind: AsyncEngine) -> AsyncIterator[Iterable[Kind]]:
        yield yours

    run(settings, open_yours, name="effects-own")


@asynccontextmanager
async def payment_kinds(settings: Settings, bind: AsyncEngine) -> AsyncIterator[Iterable[Kind]]:
    """Open our own three kinds."""
    async with open_provider(settings) as provider, Delivery(settings) as delivery:
        yield (
            ChargeKind(provider, call_s=settings.effect_call_s),
            RefundKind(provider, call_s=settings.effect_call_s),
            WebhookKind(bind, delivery, settings),
        )


def run(settings: Settings, open_kinds: OpenKinds, *, name: str = "effects") -> None:
    """Carry out the effects of some kinds until SIGTERM or SIGINT; `name` is the process's in the log.

    Raises:
        SchemaVersionError: the database has another schema version than this program.
        ConfigurationError: the lease is too short for a call of one of the kinds.
    """
    bind = db.engine(settings, size=1)
    process = runner.start(name, settings, bind)
    bind.dispose()
    asyncio.run(_serve(process, settings, open_kinds))


def lanes(
    kinds: Iterable[Kind],
    *,
    bind: AsyncEngine,
    settings: Settings,
    clock: Clock,
    settled: Callable[[], object] = lambda: None,
) -> list[Lane]:
    """Return a lane for each kind; kinds of one circuit share its breaker. Raises as `Lane` does."""
    breakers: dict[str, Breaker] = {}

    def breaker(circuit: str | None) -> Breaker | None:
        if circuit is None:
            return None
        new = Breaker(clock, failures=settings.breaker_failures, open_s=settings.breaker_open_s)
        watch(circuit, breakers.setdefault(circuit, new))
        return breakers[circuit]

    return [
        Lane(kind, breaker=breaker(kind.circuit), bind=bind, settings=settings, clock=clock, settled=settled)
        for kind in kinds
    ]


async def _serve(process: runner.Process, settings: Settings, open_kinds: OpenKinds) -> None:
    bind = db.async_engine(
        settings,
        size=CONNECTIONS,
        lock_timeout_ms=settings.consumer_lock_timeout_ms,
        silence_s=db.WORKER_ANSWER_S,
    )
    hinter = Hinter(db.libpq_dsn(settings))
    try:
        async with open_kinds(settings, bind) as kinds:
            running = lanes(kinds, bind=bind, settings=settings, clock=SystemClock(), settled=hinter.hint)
            await _run_lanes(process, running, bind, db.libpq_dsn(settings, direct=True))
    finally:
        await asyncio.to_thread(hinter.close)
        await bind.dispose()
    structlog.get_logger().info("stopped")


async def _run_lanes(process: runner.Process, running: list[Lane], bind: AsyncEngine, dsn: str) -> None:
    stop = asyncio.Event()

    def request_stop() -> None:
        process.request_stop()
        stop.set()
        for lane in running:
            lane.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, request_stop)
    if process.stop.is_set():  # the signal came before its handler here did
        request_stop()
    for lane in running:
        know(lane.kind)
    measuring = asyncio.create_task(measure(bind, [lane.kind for lane in running]))
    listening = asyncio.create_task(listen(dsn, {effects_of(lane.kind): lane.wake for lane in running}))
    try:
        async with asyncio.TaskGroup() as group:
            for lane in running:
                group.create_task(lane.run(stop, process))
    finally:
        listening.cancel()
        measuring.cancel()
