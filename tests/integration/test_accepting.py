"""Accepting a payment: S1 to S4 and the waits, on a real PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from paidonce.app import steps
from paidonce.app.clock import SystemClock
from paidonce.app.db import async_engine, hot_pool
from paidonce.app.errors import (
    ConfigurationError,
    CustomerUnknownError,
    IdempotencyKeyExpiredError,
    IdempotencyKeyReusedError,
    NotCancelableError,
    NotFoundError,
    NotRefundableError,
    OutcomeUnknownError,
    RequestInProgressError,
)
from paidonce.app.idempotency.guard import Guard, Stored
from paidonce.app.idempotency.store import Claim, Response
from paidonce.app.payments.accepting import TOGETHER_MAX, Accepting
from paidonce.app.payments.service import PaymentDraft, Payments
from paidonce.app.settings import Settings
from paidonce.app.unbroken import Unbroken

DRAFT = PaymentDraft(amount=1250, currency="EUR", payment_method="pm_ok")


def claim(
    key: str = "k1", *, tenant: str = "acme", request_hash: str = "a" * 64, endpoint: str = "POST /v1/payments"
) -> Claim:
    return Claim(tenant, endpoint, key, request_hash, timedelta(hours=72))


@dataclass
class Service:
    payments: Payments
    guard: Guard
    unbroken: Unbroken
    dsn: str

    async def rows(self, table: str, where: str = "true") -> int:
        async with await psycopg.AsyncConnection.connect(self.dsn) as connection:
            cursor = await connection.execute(f"SELECT count(*) FROM {table} WHERE {where}")
            row = await cursor.fetchone()
            assert row is not None
            return int(row[0])

    async def execute(self, statement: str, *parameters: object) -> None:
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute(statement, parameters)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    pool = hot_pool(settings, lock_timeout_ms=settings.idempotency_first_wait_ms)
    engine = async_engine(settings, size=settings.api_connections_max)
    await pool.open()
    unbroken = Unbroken()
    guard = Guard(pool, engine, unbroken, settings)
    payments = Payments(guard, Accepting(pool, unbroken, settings), SystemClock(), settings)
    try:
        yield Service(payments, guard, unbroken, settings.dsn.get_secret_value())
    finally:
        await unbroken.settled()
        await pool.close()
        await engine.dispose()


class _Passes:
    """Counts the passes through each step."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def before(self, step: str) -> None:
        self.of[step] += 1

    def after(self, step: str, seconds: float, error: BaseException | None) -> None:
        pass


@pytest.fixture(autouse=True)
def listeners() -> Iterator[None]:
    before = steps._listeners
    yield
    steps._listeners = before


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with running(settings) as made:
        yield made


async def test_one_statement_writes_all_four(service: Service) -> None:
    stored = await service.payments.create(claim(), DRAFT, {"traceparent": "t"})
    assert (stored.replayed, stored.response.status) == (False, 201)
    for table in ("payments", "outbox", "idempotency"):
        assert await service.rows(table) == 1
    assert await service.rows("idempotency", "response_body IS NOT NULL AND expires_at > now() + '71 hours'") == 1


async def test_fifty_at_once_on_one_key_pay_once(service: Service) -> None:
    answers = await asyncio.gather(
        *(service.payments.create(claim(), DRAFT, {}) for _ in range(50)), return_exceptions=True
    )
    stored = [answer for answer in answers if isinstance(answer, Stored)]
    assert {type(answer) for answer in answers} <= {Stored, RequestInProgressError}
    assert len({answer.response.body for answer in stored}) == 1
    assert sum(not answer.replayed for answer in stored) == 1
    assert (await service.rows("payments"), await service.rows("outbox")) == (1, 1)


async def test_a_replay_is_equal_in_every_byte(service: Service) -> None:
    first = await service.payments.create(claim(), DRAFT, {})
    again = await service.payments.create(claim(), DRAFT, {})
    assert again.replayed
    assert again.response == first.response


async def test_the_same_key_for_another_request_is_refused(service: Service, settings: Settings) -> None:
    await service.payments.create(claim(), DRAFT, {})
    with pytest.raises(IdempotencyKeyReusedError) as refused:
        await service.payments.create(claim(request_hash="b" * 64), DRAFT, {})
    assert refused.value.status == 409
    async with running(settings.model_copy(update={"idempotency_profile": "ietf"})) as ietf:
        with pytest.raises(IdempotencyKeyReusedError) as refused:
            await ietf.payments.create(claim(request_hash="b" * 64), DRAFT, {})
    assert refused.value.status == 422
    assert await service.rows("payments") == 1


async def test_a_payment_whose_event_the_topic_would_refuse_is_refused_and_writes_nothing(
    service: Service, settings: Settings
) -> None:
    """On the topic it would stop its shard for ever, so it never gets into the outbox."""
    large = replace(DRAFT, description="x" * 2_000)
    async with running(settings.model_copy(update={"message_bytes_max": 2_000})) as narrow:
        with pytest.raises(
            ConfigurationError, match=r"has \d+ bytes, the topic takes 2000 .PAIDONCE_MESSAGE_BYTES_MAX"
        ):
            await narrow.payments.create(claim(), large, {})
        assert [await narrow.rows(table) for table in ("payments", "outbox", "idempotency")] == [0, 0, 0]
        assert (await narrow.payments.create(claim(), DRAFT, {})).response.status == 201, "its key is free"
    assert (await service.payments.create(claim("k2"), large, {})).response.status == 201


async def test_another_tenant_has_keys_of_its_own(service: Service) -> None:
    ours = await service.payments.create(claim(), DRAFT, {})
    theirs = await service.payments.create(claim(tenant="globex"), DRAFT, {})
    assert not theirs.replayed
    assert ours.response.body != theirs.response.body


async def test_an_unknown_customer_writes_nothing_and_a_deleted_one_still_replays(service: Service) -> None:
    draft = PaymentDraft(amount=1, currency="EUR", payment_method="pm_ok", customer_id="c1")
    with pytest.raises(CustomerUnknownError):
        await service.payments.create(claim(), draft, {})
    assert [await service.rows(table) for table in ("idempotency", "payments", "outbox")] == [0, 0, 0]
    await service.execute("INSERT INTO customers (tenant, id, name) VALUES ('acme', 'c1', 'n')")
    first = await service.payments.create(claim(), draft, {})
    await service.execute("DELETE FROM customers")
    assert (await service.payments.create(claim(), draft, {})).response == first.response


async def test_a_failure_in_the_statement_keeps_nothing(service: Service) -> None:
    await service.execute("ALTER TABLE outbox ADD CONSTRAINT refuse CHECK (sequence < 0) NOT VALID")
    with pytest.raises(psycopg.errors.CheckViolation):
        await service.payments.create(claim(), DRAFT, {})
    assert (await service.rows("idempotency"), await service.rows("payments")) == (0, 0)


async def test_an_expired_key_is_refused_before_and_after_the_sweep(service: Service) -> None:
    await service.payments.create(claim(), DRAFT, {})
    await service.execute("UPDATE idempotency SET expires_at = now()")
    with pytest.raises(IdempotencyKeyExpiredError):
        await service.payments.create(claim(), DRAFT, {})
    await service.execute("UPDATE idempotency SET response_status = NULL, response_body = NULL")
    with pytest.raises(IdempotencyKeyExpiredError):
        await service.payments.create(claim(), DRAFT, {})
    assert await service.rows("payments") == 1


async def _hold(dsn: str, key: str = "k1") -> psycopg.AsyncConnection[Any]:
    """Claim a key like a first request that is still running."""
    connection = await psycopg.AsyncConnection.connect(dsn)
    await connection.execute(
        "INSERT INTO idempotency (tenant, endpoint, idem_key, request_hash, hash_version, expires_at)"
        " VALUES ('acme', 'POST /v1/payments', %s, repeat('a', 64), 1, now() + interval '1 hour')",
        [key],
    )
    return connection


async def test_duplicates_wait_bounded_in_time_and_number(settings: Settings) -> None:
    """One waiter gets a short while, all others are told at once; another key is not held up."""
    few = settings.model_copy(
        update={"idempotency_waiters_max": 1, "idempotency_first_wait_ms": 20, "idempotency_wait_ms": 400}
    )
    async with running(few) as service:
        holder = await _hold(service.dsn)
        duplicates = [asyncio.create_task(service.payments.create(claim(), DRAFT, {})) for _ in range(30)]
        _, waiting = await asyncio.wait(duplicates, return_when=asyncio.FIRST_COMPLETED)
        assert waiting
        other = await service.payments.create(claim("k2"), DRAFT, {})
        assert not other.replayed
        answers = await asyncio.gather(*duplicates, return_exceptions=True)
        assert {type(answer) for answer in answers} == {RequestInProgressError}
        await holder.rollback()
        await holder.close()
        assert not (await service.payments.create(claim(), DRAFT, {})).replayed


async def test_a_waiter_gets_the_key_when_the_first_rolls_back(settings: Settings) -> None:
    patient = settings.model_copy(update={"idempotency_first_wait_ms": 20, "idempotency_wait_ms": 20_000})
    async with running(patient) as service:
        holder = await _hold(service.dsn)
        waiter = asyncio.create_task(service.payments.create(claim(), DRAFT, {}))
        await _until_waiting(service.dsn)
        await holder.rollback()
        await holder.close()
        assert not (await waiter).replayed


async def _until_waiting(dsn: str) -> None:
    """Return once a statement that got the longer wait waits on a lock."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher:
        for _ in range(500):
            cursor = await watcher.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                " AND now() - query_start > interval '100 ms'"
            )
            row = await cursor.fetchone()
            if row is not None and row[0] > 0:
                return
            await asyncio.sleep(0.02)
    raise AssertionError("nobody waits")


async def test_payments_that_arrive_together_share_a_statement(service: Service) -> None:
    passes = _Passes()
    steps.listen(passes)
    answers = await asyncio.gather(
        *(service.payments.create(claim(f"k{n}"), DRAFT, {}) for n in range(TOGETHER_MAX + 1))
    )
    assert len({answer.response.body for answer in answers}) == await service.rows("payments") == TOGETHER_MAX + 1
    assert passes.of["payments.accept"] == 2


async def test_one_that_the_server_refuses_hurts_no_neighbour(service: Service) -> None:
    bad = replace(DRAFT, reference="a\0b")
    drafts = [DRAFT, DRAFT, bad, DRAFT]
    answers = await asyncio.gather(
        *(service.payments.create(claim(f"k{n}"), draft, {}) for n, draft in enumerate(drafts)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Stored, Stored, psycopg.errors.UntranslatableCharacter, Stored]
    assert await service.rows("payments") == 3


async def test_one_whose_key_is_held_hurts_no_neighbour(settings: Settings) -> None:
    brief = settings.model_copy(update={"idempotency_first_wait_ms": 20, "idempotency_wait_ms": 50})
    async with running(brief) as service:
        holder = await _hold(service.dsn, "k2")
        answers = await asyncio.gather(
            *(service.payments.create(claim(f"k{n}"), DRAFT, {}) for n in range(5)), return_exceptions=True
        )
        await holder.close()
        assert [type(answer) for answer in answers] == [Stored, Stored, RequestInProgressError, Stored, Stored]


async def test_a_caller_that_hangs_up_cancels_no_commit(service: Service) -> None:
    holder = await _hold(service.dsn)
    request = asyncio.create_task(service.payments.create(claim("k2"), DRAFT, {}))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await service.unbroken.settled()
    await holder.close()
    assert await service.rows("payments") == 1


async def test_a_lost_answer_is_unknown_and_the_retry_finds_the_truth(settings: Settings) -> None:
    """The server commits, its answer never arrives: 503, and the same key replays what was stored."""
    one = settings.model_copy(update={"api_connections_max": 1})
    async with _losing_answers(one) as (through_proxy, lose), running(through_proxy) as service:
        # The warm request prepares the statement, so that the lost answer is that of its execution.
        await service.payments.create(claim("warm"), DRAFT, {})
        lose.set()
        with pytest.raises(OutcomeUnknownError):
            await service.payments.create(claim(), DRAFT, {})
    async with running(settings) as service:
        assert (await service.payments.create(claim(), DRAFT, {})).replayed
        assert await service.rows("payments") == 2


@asynccontextmanager
async def _losing_answers(settings: Settings) -> AsyncIterator[tuple[Settings, asyncio.Event]]:
    """A TCP proxy before PostgreSQL: once the event is set, it passes what is sent and cuts at the first answer."""
    parts = psycopg.conninfo.conninfo_to_dict(settings.dsn.get_secret_value())
    host, port = str(parts["host"]), int(str(parts["port"]))
    lose = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, port)

        async def up() -> None:
            while data := await reader.read(65536):
                up_writer.write(data)

        async def down() -> None:
            while data := await up_reader.read(65536):
                if lose.is_set():
                    break
                writer.write(data)

        _, pending = await asyncio.wait(
            [asyncio.create_task(up()), asyncio.create_task(down())], return_when=asyncio.FIRST_COMPLETED
        )
        for task in pending:
            task.cancel()
        writer.close()
        up_writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxied = psycopg.conninfo.make_conninfo(
        settings.dsn.get_secret_value(), host="127.0.0.1", port=server.sockets[0].getsockname()[1]
    )
    async with server:
        yield settings.model_copy(update={"dsn": type(settings.dsn)(_as_url(proxied))}), lose


def _as_url(conninfo: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    password = f":{parts['password']}" if parts.get("password") else ""
    return f"postgresql://{parts['user']}{password}@{parts['host']}:{parts['port']}/{parts['dbname']}"


async def test_cancel_is_once_for_its_key_and_only_while_pending(service: Service) -> None:
    created = await service.payments.create(claim(), DRAFT, {})
    payment_id = UUID(str(created.response.resource_id))
    cancel = claim("c1", endpoint="POST /v1/payments/{id}/cancel")
    answers = await asyncio.gather(*(service.payments.cancel(cancel, payment_id, {}) for _ in range(10)))
    assert len({answer.response.body for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert await service.rows("outbox", "type = 'payment.canceled'") == 1
    with pytest.raises(NotCancelableError):
        await service.payments.cancel(claim("c2", endpoint="POST /v1/payments/{id}/cancel"), payment_id, {})
    with pytest.raises(NotFoundError):
        await service.payments.cancel(claim("c3", tenant="globex"), payment_id, {})
    assert await service.rows("idempotency", "idem_key IN ('c2', 'c3')") == 0


async def test_refunds_at_once_never_exceed_the_amount(service: Service) -> None:
    created = await service.payments.create(claim(), DRAFT, {})
    payment_id = UUID(str(created.response.resource_id))
    with pytest.raises(NotRefundableError):
        await service.payments.refund(claim("r0"), payment_id, 1, None, {}, limit=1_250)
    await service.execute("UPDATE payments SET status = 'captured', provider_charge_id = 'ch'")
    answers = await asyncio.gather(
        *(service.payments.refund(claim(f"r{n}"), payment_id, 300, None, {}, limit=1_250) for n in range(1, 11)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, Stored) for answer in answers) == 4
    assert {type(answer) for answer in answers} <= {Stored, NotRefundableError, RequestInProgressError}
    rest = await service.payments.refund(claim("rest"), payment_id, None, "what is left", {}, limit=1_250)
    assert b'"amount":50' in rest.response.body
    assert await service.rows("refunds") == 5


async def test_work_that_fails_leaves_the_key_free(service: Service) -> None:
    def fail(_tx: object) -> Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await service.guard.once(claim("w"), fail)
    assert (await service.guard.once(claim("w"), lambda _tx: Response(200, b"{}"))).replayed is False
