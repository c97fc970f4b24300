"""What if the server takes a statement and never answers? We hang up after a while: nobody knows whether it was done.

The kernel notices a host that is gone (app/db.py, SILENCE), but not a pooler or load balancer that hangs and still
acknowledges every packet: a process would wait there for ever, and so would everybody who waits for its connection.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

from psycopg import AsyncConnection, Connection, OperationalError
from psycopg.abc import PQGen

Found = TypeVar("Found")
#: Seconds between psycopg's own looks at signals while it waits; its default.
INTERVAL_S = 0.1


class SilentServerError(OperationalError):
    """The server did not go on in time, and the connection was closed: the statement may have run or not."""


class Patient(Connection[Any]):
    """A connection that waits at most `silence_s` seconds for an answer, and is closed then; None: without end."""

    silence_s: float | None = None

    def wait(self, gen: PQGen[Found], interval: float = INTERVAL_S, timeout: float | None = None) -> Found:
        """Wait as psycopg does; raises SilentServerError."""
        with _hanging_up(self, self.silence_s):
            return super().wait(gen, interval, timeout or self.silence_s)


class PatientAsync(AsyncConnection[Any]):
    """The same on asyncio."""

    silence_s: float | None = None

    async def wait(
        self,
        gen: PQGen[Found],
        interval: float = INTERVAL_S,
        timeout: float | None = None,  # noqa: ASYNC109  it is psycopg's to keep it
    ) -> Found:
        """Wait as psycopg does; raises SilentServerError."""
        with _hanging_up(self, self.silence_s):
            return await super().wait(gen, interval, timeout or self.silence_s)


@contextmanager
def _hanging_up(connection: Connection[Any] | AsyncConnection[Any], silence_s: float | None) -> Iterator[None]:
    began = monotonic()
    try:
        yield
    except OperationalError as error:
        if silence_s is None or error.sqlstate or connection.closed or monotonic() - began < silence_s:
            raise
        # To cancel the statement would be to wait for the same silent server once more.
        connection.pgconn.finish()
        raise SilentServerError(f"no answer of PostgreSQL in {silence_s:g} s: hung up") from error
