"""Does everybody who connects cope with a DSN of two hosts, before and after the standby took over?

And is the standby, named alone, refused for windows until it is the primary?
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from threading import Event

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from paidonce.app import db
from paidonce.app.messaging.hint import Hinter
from paidonce.app.settings import Settings
from paidonce.chaos.outages import end
from paidonce.devstack.kafka import Kafka
from paidonce.devstack.pace import PACE, environment
from paidonce.devstack.postgres import start_postgres
from paidonce.devstack.postgres_standby import Pair, add_standby
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until
from paidonce.migrations.upgrade import upgrade
from paidonce.workers import doctor_checks, relay, relay_session
from paidonce.workers.cleaner import Cleaner
from paidonce.workers.relay_session import StandbyError
from paidonce.workers.relay_shards import Relay
from paidonce.workers.relay_wake import Waker

pytestmark = [pytest.mark.failover, pytest.mark.timeout(300)]

PORT = "SELECT inet_server_port()"
IDENTIFIER = "SELECT system_identifier::text FROM pg_control_system()"
#: Seconds within which whoever was connected to the server that died is at the other.
OVER_S = 20.0


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A migrated primary with its standby, and nobody else on them."""
    with Run() as run:
        found = add_standby(run, start_postgres(run, durable=False), durable=False)
        settings = Settings(dsn=found.dsn)
        bind = db.engine(settings)
        upgrade(bind, settings)
        bind.dispose()
        yield found


class Connected:
    """Everything of ours that keeps a connection, on one DSN."""

    def __init__(self, settings: Settings, opened: AsyncExitStack) -> None:
        self.settings = settings
        self.bind, self.bind_async = db.engine(settings), db.async_engine(settings, size=1)
        opened.callback(self.bind.dispose)
        opened.push_async_callback(self.bind_async.dispose)
        self.pool = db.hot_pool(settings, lock_timeout_ms=100)
        opened.push_async_callback(self.pool.close)
        self.waker, self.hinter = Waker(db.libpq_dsn(settings), Event()), Hinter(db.libpq_dsn(settings))
        opened.callback(self.waker.close)
        opened.callback(self.hinter.close)
        self.cleaner = Cleaner(settings, self.bind)
        opened.callback(self.cleaner.close)

    async def check(self, port: int) -> str:
        """Use each until it works, and see that it is at the server with this port; return the server's identifier."""
        until(lambda: self.engine_is_at(port), within_s=OVER_S, what="the engine")
        async with self.bind_async.begin() as tx:
            assert await tx.scalar(text(PORT)) == port
        assert await self.pool_at() == port
        session = relay_session.open_session(self.settings, self.bind)
        try:
            assert session.info.port == port
            (identifier,) = session.execute(IDENTIFIER).fetchone() or ("",)
        finally:
            session.close()
        until(self.cleans, within_s=OVER_S, what="the cleaner")
        until(self.hears, within_s=OVER_S, what="a hint")
        assert doctor_checks.postgres(self.settings).startswith("version")
        return str(identifier)

    def engine_is_at(self, port: int) -> bool:
        with suppress(OperationalError), self.bind.begin() as tx:
            return tx.scalar(text(PORT)) == port
        return False

    async def pool_at(self) -> int | None:
        """Return where the pool's connections are; each that was lost fails once."""
        for _ in range(self.pool.max_size + 1):
            with suppress(psycopg.OperationalError):
                async with self.pool.connection() as connection:
                    row = await (await connection.execute(PORT)).fetchone()
                    return int(row[0]) if row else None
        return None

    def cleans(self) -> bool:
        try:
            self.cleaner.run_once()
        except psycopg.OperationalError:
            return False
        return True

    def hears(self) -> bool:
        self.waker.wait(0)
        self.hinter.hint()
        return self.waker.wait(1.0)


async def test_whoever_connects_finds_the_one_that_takes_writes(pair: Pair) -> None:
    settings = Settings(dsn=pair.dsn, **PACE)
    async with AsyncExitStack() as opened:
        connected = Connected(settings, opened)
        await connected.pool.open()
        before = await connected.check(port_of(pair.primary_dsn))
        end(pair.primary, signal.SIGKILL)
        pair.promote()
        # The same identifier: to the relay it is the same database, and the windows go on.
        assert await connected.check(port_of(pair.standby_dsn)) == before


def test_the_schema_is_migrated_and_judged_where_writes_go(pair: Pair) -> None:
    assert _command("migrate", dsn=pair.dsn) == 0
    with pytest.raises(doctor_checks.WrongError, match="target_session_attrs=read-write"):
        doctor_checks.postgres(Settings(dsn=pair.standby_dsn))
    assert _command("migrate", dsn=pair.standby_dsn) != 0


def test_a_standby_is_refused_for_windows_until_it_is_promoted(pair: Pair, kafka: Kafka, topic: str) -> None:
    settings = Settings(dsn=pair.standby_dsn, kafka=kafka.bootstrap, topic=topic, relay_name=f"relay-{topic}", **PACE)
    bind = db.engine(settings)
    waiting = Relay(settings, bind, Event())
    try:
        with pytest.raises(StandbyError) as refused:
            waiting.run_once()
        assert relay.is_transient(refused.value)
        assert waiting.shards == []
        end(pair.primary, signal.SIGKILL)
        pair.promote()
        assert waiting.run_once() == 0
        assert waiting.shards == [0, 1]
    finally:
        waiting.close()
        bind.dispose()


def port_of(dsn: str) -> int:
    return int(str(conninfo_to_dict(dsn)["port"]))


def _command(*arguments: str, dsn: str) -> int:
    env = {**os.environ, **environment({"dsn": dsn})}
    argv = [sys.executable, "-m", "paidonce.cli", *arguments]
    return subprocess.run(argv, env=env, capture_output=True, check=False).returncode
