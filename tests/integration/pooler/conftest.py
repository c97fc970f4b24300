"""A PgBouncer in transaction mode before the tests' PostgreSQL, with few sessions for many clients."""

from collections.abc import Callable, Iterator

import pytest

from paidonce.app.settings import Settings
from paidonce.devstack.pgbouncer import PgBouncer
from paidonce.devstack.postgres import Postgres
from paidonce.devstack.runs import Run

#: Three sessions with PostgreSQL, for however many clients: they cannot but share them.
FEW = "default_pool_size = 3\n"


@pytest.fixture(scope="module")
def start(run: Run, postgres: Postgres) -> Iterator[Callable[..., PgBouncer]]:
    """Start a PgBouncer of a pool_mode, with more of its configuration; all are stopped afterwards."""
    started: list[PgBouncer] = []

    def begin(mode: str = "transaction", more: str = "") -> PgBouncer:
        started.append(PgBouncer(run, postgres.dsn, mode=mode, more=FEW + more))
        return started[-1]

    yield begin
    for one in started:
        one.process.stop()


@pytest.fixture(scope="module")
def pooler(start: Callable[..., PgBouncer]) -> PgBouncer:
    """A PgBouncer as docs/pooler.md wants it."""
    return start()


@pytest.fixture
def settings(database: str, pooler: PgBouncer) -> Settings:
    """Settings for the fresh database, through the pooler and past it."""
    return Settings(dsn=pooler.led(database), dsn_direct=database, api_connections_max=20)
