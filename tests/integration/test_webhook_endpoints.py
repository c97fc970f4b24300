"""A tenant's webhook endpoint on a real PostgreSQL, and the kind of effect that sends there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine
from standardwebhooks import Webhook

from paidonce.app import db
from paidonce.app.clock import new_id
from paidonce.app.errors import UnprocessableError
from paidonce.app.messaging.answers import NotSent, Refused, Rejected, Succeeded
from paidonce.app.messaging.effect_kinds import Effect, Kind
from paidonce.app.settings import Settings
from paidonce.app.webhooks import endpoints
from paidonce.app.webhooks.delivery import Delivery
from paidonce.app.webhooks.effect_kind import WebhookKind

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
OTHER = "whsec_" + "QUJD" * 10
URL = "https://merchant.example/hooks"


@pytest.fixture
def bind(database: str) -> Iterator[Engine]:
    engine = db.engine(Settings(dsn=database))
    yield engine
    engine.dispose()


def put(bind: Engine, tenant: str = "acme", **given: Any) -> tuple[endpoints.Endpoint, bool]:
    values = {"url": URL, "secret": SECRET, "events": None, "private_addresses": False} | given
    with db.begin(bind) as tx:
        return endpoints.put(tx, tenant, **values)


def get(bind: Engine, tenant: str = "acme") -> endpoints.Endpoint | None:
    with bind.connect() as tx:
        return endpoints.get(tx, tenant)


def test_put_is_an_upsert_that_says_what_is_new(bind) -> None:
    first, created = put(bind)
    assert created
    assert (first.url, first.secret, first.events) == (URL, SECRET, None)
    second, created_again = put(bind, secret=OTHER, events=["payment.captured", "payment.captured"])
    assert not created_again
    assert (second.secret, second.events) == (OTHER, ("payment.captured",))
    assert second.created_at == first.created_at
    assert get(bind) == second


def test_each_tenant_has_its_own(bind) -> None:
    put(bind)
    put(bind, "globex", url="https://globex.example/")
    assert get(bind).url == URL
    with db.begin(bind) as tx:
        assert endpoints.remove(tx, "acme")
        assert not endpoints.remove(tx, "acme")
    assert get(bind) is None
    assert get(bind, "globex").url == "https://globex.example/"


def test_it_wants_what_it_lists(bind) -> None:
    assert put(bind)[0].wants("payment.captured")
    endpoint, _ = put(bind, events=["payment.refunded"])
    assert endpoint.wants("payment.refunded")
    assert not endpoint.wants("payment.captured")


WRONG = [
    {"url": "http://merchant.example"},
    {"secret": "whsec_short"},
    {"secret": ""},
    {"events": []},
    {"events": ["payment.captured"] * 33},
    {"events": ["Payment Captured"]},
    {"events": ["payment." + "x" * 60]},
    {"events": ["payment\0.captured"]},
]


def test_what_is_wrong_is_refused_by_the_members_name_and_changes_nothing(bind) -> None:
    for wrong in WRONG:
        (member,) = wrong
        with pytest.raises(UnprocessableError, match=f"^{member}: "):
            put(bind, **wrong)
    assert get(bind) is None


def test_the_secret_is_in_no_repr_and_no_refusal(bind) -> None:
    assert SECRET not in repr(put(bind)[0])
    with pytest.raises(UnprocessableError) as refused:
        put(bind, secret="whsec_mine")
    assert "mine" not in str(refused.value)


# --- the kind of effect


@pytest.fixture
async def kind(database: str) -> AsyncIterator[WebhookKind]:
    settings = Settings(dsn=database, webhook_private_addresses=True, webhook_call_s=2)
    bind = db.async_engine(settings, size=2)
    async with Delivery(settings) as delivery:
        yield WebhookKind(bind, delivery, settings)
    await bind.dispose()


def effect(subject: str = "evt-1", request: bytes = b'{"type":"payment.captured"}') -> Effect:
    now = datetime.now(UTC)
    return Effect(
        id=new_id(),
        kind="webhook",
        subject=subject,
        tenant="acme",
        request=request,
        attempts=1,
        open_attempt=False,
        first_sent_at=now,
        sent_until=None,
        claim_token=new_id(),
        claimed_at=now,
        lease_until=now + timedelta(seconds=30),
        created_at=now,
    )


def test_it_is_a_kind(kind) -> None:
    as_kind: Kind = kind
    assert (as_kind.name, as_kind.circuit, as_kind.call_s) == ("webhook", None, 2)
    assert as_kind.repeats_for == timedelta(hours=72)


async def test_it_sends_to_where_the_tenant_wants_it_now_with_no_transaction_open(kind, bind, database) -> None:
    received: list[tuple[dict[str, str], bytes]] = []
    busy: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head.split("\r\n")[1:] if line)}
        received.append((headers, await reader.readexactly(int(headers["content-length"]))))
        async with await psycopg.AsyncConnection.connect(database) as connection:
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
            )
            busy.append((await cursor.fetchone())[0])
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await asyncio.to_thread(put, bind, url=url, private_addresses=True)
    assert await kind.call(effect()) == Succeeded({})
    await asyncio.to_thread(put, bind, url=url, secret=OTHER, private_addresses=True)
    assert await kind.call(effect()) == Succeeded({})
    server.close()
    assert busy == [0, 0]
    for (headers, body), secret in zip(received, (SECRET, OTHER), strict=True):
        assert headers["webhook-id"] == "evt-1"
        assert body == effect().request
        Webhook(secret).verify(body, headers)


async def test_without_an_endpoint_there_is_nobody_to_tell(kind) -> None:
    assert await kind.call(effect()) == Refused("no-endpoint", {})
    assert await kind.look_up(effect()) is None


async def test_a_merchant_that_is_away_was_not_sent_anything(kind, bind, unused_tcp_port) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    await asyncio.to_thread(put, bind, url=url, private_addresses=True)
    assert await kind.call(effect()) == NotSent("ConnectError")


async def test_what_nobody_took_is_a_dead_letter(kind, bind, database) -> None:
    answers = [Refused("gone", {}), Rejected("retry-horizon"), Refused("no-endpoint", {}), Succeeded({})]

    def settle() -> list[tuple]:
        with db.begin(bind) as tx:
            for number, answer in enumerate(answers):
                kind.settle(tx, effect(f"evt-{number}"), answer)
        with psycopg.connect(database) as connection:
            found = connection.execute("SELECT consumer, message_id, key, value, reason FROM dead_letters ORDER BY id")
            return found.fetchall()

    assert await asyncio.to_thread(settle) == [
        ("webhook-delivery", f"evt-{number}", "acme", effect().request, answer.code)
        for number, answer in enumerate(answers[:3])
    ]
