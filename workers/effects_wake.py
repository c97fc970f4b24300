"""When does an idle effects worker look again? At a hint from whoever committed an effect, or after the poll's time.

The relay's way on asyncio (docs/design.md, "Relay"): LISTEN on a session of its own, directly at
the server; without one the worker only polls.
"""

import asyncio
from collections.abc import Callable, Mapping

import psycopg
import structlog

#: Seconds between attempts to connect: the polls go on, so there is no hurry.
RECONNECT_S = 1.0


async def listen(dsn: str, wake: Mapping[str, Callable[[], None]]) -> None:
    """Call `wake[channel]()` at each hint on that channel, until cancelled."""
    while True:
        try:
            await _listen(dsn, wake)
        except psycopg.Error as error:
            structlog.get_logger().debug("not_listening", error=repr(error))
        await asyncio.sleep(RECONNECT_S)


async def _listen(dsn: str, wake: Mapping[str, Callable[[], None]]) -> None:
    session = await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name="paidonce-listen")
    async with session:
        for channel in wake:
            await session.execute(f'LISTEN "{channel}"'.encode())
        for awaken in wake.values():  # what was hinted at before this session listened
            awaken()
        async for notice in session.notifies():
            wake[notice.channel]()
