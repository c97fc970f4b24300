"""How does a handler use the database? It hands plain functions over; reads roll back, writes commit, here."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from paidonce.app.db import begin_async
from paidonce.app.steps import step

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


async def read(
    engine: AsyncEngine,
    function: Callable[Concatenate[Connection, Parameters], Result],
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> Result:
    """Return what `function` reads."""
    async with engine.connect() as tx:
        return await tx.run_sync(function, *args, **kwargs)


@step("api.write")
async def write(
    engine: AsyncEngine,
    function: Callable[Concatenate[Connection, Parameters], Result],
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> Result:
    """Return what `function` returns, after its transaction was committed; raises as `begin_async` does."""
    async with begin_async(engine) as tx:
        return await tx.run_sync(function, *args, **kwargs)
