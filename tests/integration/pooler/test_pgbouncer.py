"""Behind PgBouncer in transaction mode: limits in each transaction, nothing prepared, and what must not be there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from threading import Event

import psycopg
import pytest
from sqlalchemy import Engine, text

from paidonce.app import db
from paidonce.app.clock import SystemClock
from paidonce.app.errors import ConfigurationError, RequestInProgressError
from paidonce.app.idempotency.guard import Guard
from paidonce.app.idempotency.store import Claim
from paidonce.app.messaging.hint import Hinter
from paidonce.app.payments.accepting import Accepting
from paidonce.app.payments.service import PaymentDraft, Payments
from paidonce.app.settings import Settings
from paidonce.app.unbroken import Unbroken
from paidonce.devstack.pgbouncer import PgBouncer
from paidonce.workers import doctor_pooler, relay_session
from paidonce.workers.cleaner import Cleaner
from paidonce.workers.relay_wake import Waker

pytestmark = pytest.mark.pgbouncer

DRAFT = PaymentDraft(amount=1250, currency="EUR", payment_method="pm_ok")
LIMITS = text("SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')")
#: What PgBouncer is told where it must let our startup options pass unheeded.
DEAF = "ignore_startup_parameters = options"

Start = Callable[..., PgBouncer]


def claim(key: str) -> Claim:
    return Claim("acme", "POST /v1/payments", key, "a" * 64, timedelta(hours=72))


@asynccontextmanager
async def paying(settings: Settings) -> AsyncIterator[Payments]:
    async with AsyncExitStack() as opened:
        engine = db.async_engine(settings, size=settings.api_connections_max)
        opened.push_async_callback(engine.dispose)
        pool = db.hot_pool(settings, lock_timeout_ms=settings.idempotency_first_wait_ms)
        await opened.enter_async_context(pool)
        unbroken = Unbroken()
        opened.push_async_callback(unbroken.settled)
        guard = Guard(pool, engine, unbroken, settings)
        yield Payments(guard, Accepting(pool, unbroken, settings), SystemClock(), settings)


@pytest.fixture
def bind(settings: Settings) -> Iterator[Engine]:
    made = db.engine(settings, size=8, lock_timeout_ms=77)
    yield made
    made.dispose()


def test_every_transaction_has_its_limits_and_leaves_none_behind(settings: Settings, bind: Engine) -> None:
    for _ in range(3):
        with db.begin(bind) as tx:
            assert tuple(tx.execute(LIMITS).one()) == ("77ms", "30s")
    with psycopg.connect(settings.dsn.get_secret_value(), autocommit=True) as other:
        row = other.execute("SELECT current_setting('lock_timeout')").fetchone()
        assert row == ("0",)


async def test_so_has_every_transaction_on_asyncio(settings: Settings) -> None:
    engine = db.async_engine(settings, size=1, lock_timeout_ms=78)
    async with db.begin_async(engine) as tx:
        assert tuple((await tx.execute(LIMITS)).one()) == ("78ms", "30s")
    await engine.dispose()


async def test_many_clients_share_few_sessions_and_pay_once_each(settings: Settings, pooler: PgBouncer) -> None:
    """Prepared under one name by several of them, the hot statements would collide in the sessions they share."""
    async with paying(settings) as first, paying(settings) as second:
        asked = [claim(f"k{n % 40}") for n in range(200)]
        stored = await asyncio.gather(
            *(api.create(one, DRAFT, {}) for n, one in enumerate(asked) for api in [(first, second)[n % 2]])
        )
    assert sum(not one.replayed for one in stored) == 40
    assert len({one.response.body for one in stored}) == 40
    pools = {row[0]: row for row in pooler.shows("POOLS")}
    assert settings.dsn.get_secret_value().rpartition("/")[2] in pools


async def test_a_duplicate_waits_for_its_first_request_no_longer_than_it_may(settings: Settings) -> None:
    async with (
        paying(settings) as payments,
        await psycopg.AsyncConnection.connect(
            settings.dsn_direct.get_secret_value() if settings.dsn_direct else ""
        ) as first,
    ):
        await first.execute(
            "INSERT INTO idempotency (tenant, endpoint, idem_key, request_hash, hash_version, expires_at) "
            "VALUES ('acme', 'POST /v1/payments', 'held', 'x', 1, now())"
        )
        with pytest.raises(RequestInProgressError):
            await payments.create(claim("held"), DRAFT, {})
        await first.rollback()
        assert (await payments.create(claim("held"), DRAFT, {})).replayed is False


def test_a_hint_through_the_pooler_wakes_who_listens_past_it(settings: Settings) -> None:
    waker = Waker(db.libpq_dsn(settings, direct=True), Event())
    hinter = Hinter(db.libpq_dsn(settings))
    waker.wait(0.01)
    hinter.hint()
    assert waker.wait(30) is True
    hinter.close()
    waker.close()
    with psycopg.connect(settings.dsn.get_secret_value(), autocommit=True) as other:
        assert other.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_windows_and_days_refuse_a_pooler_even_one_that_swallows_their_options(
    database: str, start: Start, bind: Engine
) -> None:
    through = start(more=DEAF).led(database)
    unaware = Settings(dsn=through)
    with pytest.raises(ConfigurationError, match="PAIDONCE_DSN_DIRECT"):
        relay_session.open_session(unaware, bind)
    with pytest.raises(ConfigurationError, match="PAIDONCE_DSN_DIRECT"):
        Cleaner(unaware, bind).run_once()


def test_past_the_pooler_both_have_the_server_itself(settings: Settings, bind: Engine) -> None:
    session = relay_session.open_session(settings, bind)
    assert session.info.backend_pid == session.execute("SELECT pg_backend_pid()").fetchone()[0]  # type: ignore[index]
    session.close()


def test_the_doctor_finds_what_is_wrong_with_a_pooler(settings: Settings, database: str, start: Start) -> None:
    through, other = settings.dsn, database.rpartition("/")[0] + "/postgres"
    assert doctor_pooler.check(settings) == "PAIDONCE_DSN leads to a pooler, PAIDONCE_DSN_DIRECT past it"
    assert "none stands" in doctor_pooler.check(Settings(dsn=database))
    assert "not needed" in doctor_pooler.check(Settings(dsn=database, dsn_direct=database))
    wrong = {
        "set PAIDONCE_DSN_DIRECT to PostgreSQL itself": {"dsn": through},
        "PAIDONCE_DSN_DIRECT leads to a pooler": {"dsn": through, "dsn_direct": through},
        "lead to different databases": {"dsn": through, "dsn_direct": other},
        "pool_mode": {"dsn": start("statement").led(database), "dsn_direct": database},
        "PAIDONCE_DSN does not answer": {"dsn": "postgresql://nobody@127.0.0.1:1/none", "dsn_direct": database},
    }
    for said, how in wrong.items():
        with pytest.raises(ConfigurationError, match=said):
            doctor_pooler.check(Settings(**how))
