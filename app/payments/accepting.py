"""How do payments that arrive together share one statement? Each waits for the one that runs, and goes with the next.

Alone, a payment costs a round trip and a COMMIT of its own; under load several share both. Nobody
is made to wait for company: what is there when a connection is free goes at once
(docs/decisions/0005-requests-that-arrive-together-share-a-statement.md).
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from uuid import UUID

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from paidonce.app import trace_context
from paidonce.app.db import was_refused
from paidonce.app.payments import store
from paidonce.app.payments.store import Accepted, Wanted
from paidonce.app.settings import Settings
from paidonce.app.unbroken import Unbroken

#: Statements at once: while the server writes one's log, the next is read in.
STATEMENTS_MAX = 2
#: Payments of one statement: beyond it a COMMIT's cost is spread thin, and a failure has many to run alone.
TOGETHER_MAX = 32

Waiting = tuple[Wanted, asyncio.Future[Accepted]]


class Accepting:
    """Accepts payments over `pool`, whose connections autocommit and wait shortly for locks."""

    def __init__(self, pool: AsyncConnectionPool, unbroken: Unbroken, settings: Settings) -> None:
        self._pool = pool
        # Behind a pooler no connection keeps how long it waits: each statement brings that, in a transaction.
        self._lock_wait_ms = settings.idempotency_first_wait_ms if settings.pooled else None
        self._waiting: list[Waiting] = []
        self._unbroken = unbroken
        self._statements = 0

    async def accept(self, wanted: Wanted) -> Accepted:
        """Write one payment under its key, in company where there is any.

        Raises:
            psycopg.Error: as if it had been alone: its own error, or that the connection was lost.
            psycopg_pool.PoolTimeout: no connection came free.
        """
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, future))
        if self._statements < STATEMENTS_MAX:
            self._statements += 1
            # In no context: its statements are not only for whoever came first.
            Context().run(self._unbroken.start, self._run())
        return await future

    async def accept_patiently(self, wanted: Wanted, lock_wait_ms: int) -> Accepted:
        """Write one payment alone, waiting that long for a first request under its key; raises as `accept` does."""
        return await self._unbroken.run(self._patiently(wanted, lock_wait_ms))

    async def _patiently(self, wanted: Wanted, lock_wait_ms: int) -> Accepted:
        async with self._pool.connection() as connection:
            accepted = await store.accept(connection, [wanted], lock_wait_ms=lock_wait_ms)
        return accepted[wanted.payment.id]

    async def _run(self) -> None:
        """Send what is waiting, until nothing is."""
        while self._waiting:
            try:
                async with self._pool.connection() as connection:
                    while self._waiting and not connection.closed:
                        await self._send(connection)
            except Exception as error:  # noqa: BLE001  no connection for one is none for all who wait
                together, self._waiting = self._waiting, []
                _fail(together, error)
        self._statements -= 1

    def _take(self) -> list[Waiting]:
        together, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
        return together

    async def _send(self, connection: AsyncConnection) -> None:
        together = self._take()
        try:
            accepted = await self._write(connection, [wanted for wanted, _ in together])
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to those who wait
            if len(together) > 1 and was_refused(error):
                await asyncio.gather(*(self._alone(one) for one in together))
            else:
                _fail(together, error)
            return
        for wanted, future in together:
            if not future.done():
                future.set_result(accepted[wanted.payment.id])

    async def _alone(self, one: Waiting) -> None:
        """After a statement was refused as a whole: whose fault it was is the only one to bear it."""
        wanted, future = one
        try:
            async with self._pool.connection() as connection:
                accepted = await self._write(connection, [wanted])
        except Exception as error:  # noqa: BLE001  as above
            _fail([one], error)
            return
        if not future.done():
            future.set_result(accepted[wanted.payment.id])

    async def _write(self, connection: AsyncConnection, wanted: Sequence[Wanted]) -> dict[UUID, Accepted]:
        with trace_context.within_all(lambda: [one.event.headers.get(trace_context.HEADER) for one in wanted]):
            return await store.accept(connection, wanted, lock_wait_ms=self._lock_wait_ms)


def _fail(together: list[Waiting], error: Exception) -> None:
    for _, future in together:
        if not future.done():
            future.set_exception(error)
