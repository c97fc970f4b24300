"""An effects worker, `a_worker.py DSN`: it writes its calls down, and hangs in each while `hang` has a row."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from conftest import Charges, settings
from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app.messaging.answers import Answer, Succeeded
from paidonce.app.messaging.effect_kinds import Effect
from paidonce.app.settings import Settings
from paidonce.workers.effects import run


async def answer(effect: Effect) -> Answer:
    async with await psycopg.AsyncConnection.connect(sys.argv[1], autocommit=True) as connection:
        await connection.execute("INSERT INTO calls VALUES (%s, %s, %s)", (os.getpid(), effect.subject, effect.request))
        while (await (await connection.execute("SELECT count(*) FROM hang")).fetchone()) != (0,):
            await asyncio.sleep(0.02)
    return Succeeded({"id": "ch_1"})


@asynccontextmanager
async def kinds(_settings: Settings, _bind: AsyncEngine) -> AsyncIterator[list[Charges]]:
    yield [Charges(answer, call_s=2.5)]


if __name__ == "__main__":
    # It looks once, at the start, and again only when it is woken.
    run(settings(sys.argv[1]).model_copy(update={"effect_poll_s": 60.0}), kinds)
