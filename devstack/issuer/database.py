"""How does the development issuer reach PostgreSQL, and what works without? Opened at the first use, tables made then.

Client credentials, key set and discovery need no database and never wait for one.
"""

import asyncio
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from pydantic import SecretStr
from sqlalchemy import Connection

from paidonce.app.db import async_engine, begin_async
from paidonce.app.settings import Settings
from paidonce.devstack.issuer import people, tables
from paidonce.devstack.issuer.form import GrantError

#: Connections: enough that logins wait for argon2 and not for them.
CONNECTIONS = 8
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Database:
    """The issuer's tables; one a process, on its event loop."""

    def __init__(self, dsn: SecretStr | None) -> None:
        """Connect to nothing yet; `dsn` None: there is no database."""
        self._engine = async_engine(Settings(dsn=dsn), size=CONNECTIONS) if dsn else None
        self._made = False
        self._making = asyncio.Lock()

    @property
    def there(self) -> bool:
        """Tell whether one is configured."""
        return self._engine is not None

    async def run(
        self,
        function: Callable[Concatenate[Connection, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Return what `function` returns, after its transaction was committed.

        Raises:
            GrantError: there is no database.
            sqlalchemy.exc.SQLAlchemyError, CommitUnknownError: it does not do it.
        """
        if self._engine is None:
            raise GrantError(
                "temporarily_unavailable", "this needs a database: set PAIDONCE_ISSUER_DSN for the issuer", status=503
            )
        if not self._made:
            async with self._making:
                if not self._made:
                    async with begin_async(self._engine) as tx:
                        await tx.run_sync(_make)
                    self._made = True
        async with begin_async(self._engine) as tx:
            return await tx.run_sync(function, *args, **kwargs)

    async def close(self) -> None:
        """Close the connections."""
        if self._engine is not None:
            await self._engine.dispose()


def _make(tx: Connection) -> None:
    tables.make(tx)
    people.put_first(tx)
