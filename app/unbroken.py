"""How is a COMMIT kept from being cancelled? It runs in a task of its own, which its caller only waits for.

A client that hangs up, or a time limit, cancels the caller. A statement that is cancelled while it
commits is in nobody's hands: under a synchronous standby it may already be visible here and lost
at the next promotion (docs/design.md, "Idempotent HTTP").
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Unbroken:
    """Runs what must come to its end, and waits for all of it when the process ends."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Begin `work`, which nobody need wait for."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what `work` returns; a cancelled caller leaves it running."""
        return await asyncio.shield(self.start(work))

    async def settled(self) -> None:
        """Wait until nothing runs any more: the last thing before the process ends."""
        while self._running:
            await asyncio.wait(self._running)
