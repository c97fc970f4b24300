"""Do we hang up on a database that takes a statement and says nothing? With a real server behind the proxy."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from paidonce.app import db
from paidonce.app.patience import SilentServerError
from paidonce.app.settings import Settings
from paidonce.chaos.proxy.client import Proxies
from paidonce.chaos.proxy.faults import Fault
from paidonce.devstack.detour import url
from paidonce.devstack.postgres import Postgres

#: Long enough for any answer here, and short for a test.
SILENCE_S = 1.0


@pytest.fixture(scope="module")
def proxies() -> Iterator[Proxies]:
    with Proxies() as started:
        yield started


@pytest.fixture(scope="module")
def settings(proxies: Proxies, postgres: Postgres) -> Settings:
    return Settings(dsn=url(proxies.detour, "postgres", postgres.dsn))


@pytest.fixture
def silent(proxies: Proxies) -> Iterator[None]:
    """From now on nothing is heard on connections that are open by then."""
    yield
    proxies.heal()


def silence(proxies: Proxies) -> None:
    proxies.arm(Fault(link="postgres", kind="half_open"))


@pytest.mark.usefixtures("silent")
def test_a_worker_hangs_up_and_the_next_connection_works(proxies: Proxies, settings: Settings) -> None:
    bind = db.engine(settings, silence_s=SILENCE_S)
    with bind.connect() as tx:
        assert tx.scalar(text("SELECT 1")) == 1
        silence(proxies)
        with pytest.raises(OperationalError, match="hung up") as raised:
            tx.scalar(text("SELECT 2"))
    assert isinstance(raised.value.orig, SilentServerError)
    with bind.connect() as tx:
        assert tx.scalar(text("SELECT 3")) == 3
    bind.dispose()


@pytest.mark.usefixtures("silent")
async def test_so_does_code_on_asyncio(proxies: Proxies, settings: Settings) -> None:
    bind = db.async_engine(settings, size=1, silence_s=SILENCE_S)
    async with bind.connect() as tx:
        assert await tx.scalar(text("SELECT 1")) == 1
        silence(proxies)
        with pytest.raises(OperationalError, match="hung up"):
            await tx.scalar(text("SELECT 2"))
    async with bind.connect() as tx:
        assert await tx.scalar(text("SELECT 3")) == 3
    await bind.dispose()


@pytest.mark.slow
@pytest.mark.usefixtures("silent")
async def test_the_hot_pool_replaces_each_of_its_connections(proxies: Proxies, settings: Settings) -> None:
    async with db.hot_pool(settings, lock_timeout_ms=100, silence_s=SILENCE_S) as pool:
        await pool.wait()
        silence(proxies)
        for _ in range(pool.min_size):
            with pytest.raises(SilentServerError):
                await answer(pool)
        assert await answer(pool) == (3,)


async def answer(pool: AsyncConnectionPool) -> object:
    async with pool.connection(timeout=10.0) as connection:
        return await (await connection.execute("SELECT 3")).fetchone()


def test_an_error_that_the_server_sends_late_is_its_own(settings: Settings) -> None:
    bind = db.engine(settings, silence_s=0.2)
    with bind.connect() as tx, psycopg.connect(settings.dsn.get_secret_value()) as other:
        other.execute("SELECT pg_advisory_lock(42)")
        tx.execute(text("SET lock_timeout = 50"))
        with pytest.raises(OperationalError) as raised:
            tx.execute(text("SELECT pg_advisory_lock(42)"))
    assert db.sqlstate(raised.value) == "55P03"
    bind.dispose()
