"""Does a payment go its whole way with every connection encrypted? And what are those told who are refused?"""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from paidonce.app import advice, db
from paidonce.app.clock import SystemClock
from paidonce.app.settings import Settings
from paidonce.app.valkey import SharedState, ValkeyAwayError
from paidonce.devstack.stack import Stack
from paidonce.devstack.waiting import until
from paidonce.workers.doctor_checks import CHECKS, WRONG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture
def stack_on(encrypted: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stack]:
    """A stack on servers that nobody reaches in the clear; each has topics and a database's names of its own."""

    def make(**more: str) -> Stack:
        for name, value in (encrypted.settings | more).items():
            monkeypatch.setenv(f"PAIDONCE_{name.upper()}", value)
        return Stack()

    return make


@pytest.mark.parametrize("client", ["kafka-python", "librdkafka"])
def test_a_payment_is_captured_with_everything_encrypted(
    stack_on: Callable[..., Stack], encrypted: Any, client: str
) -> None:
    own = uuid4().hex[:8]
    with psycopg.connect(encrypted.dsn_with(encrypted.ca), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE d{own}".encode())
    dsn = encrypted.dsn_with(encrypted.ca).replace("/paidonce?", f"/d{own}?")
    before = [front.encrypted for front in encrypted.fronts]
    with (
        stack_on(dsn=dsn, kafka_client=client, topic=f"payments-{own}", relay_name=f"relay-{own}") as stack,
        httpx.Client(base_url=stack.addresses.api, trust_env=False, timeout=20) as http,
    ):
        http.headers["Authorization"] = f"Bearer {stack.token()}"
        body = {"amount": 100, "currency": "EUR", "payment_method": "pm_ok"}
        made = http.post("/v1/payments", json=body, headers={"Idempotency-Key": own})
        assert made.status_code == 201, made.text
        where = made.headers["Location"]
        until(lambda: http.get(where).json()["status"] == "captured", within_s=60, what="the capture")
        found = {
            name: check(stack.settings) for name, check in CHECKS.items() if name in {"PostgreSQL", "Kafka", "Valkey"}
        }
        assert found["Valkey"] == "answers"
        logs = "".join(file.read_text(errors="replace") for file in stack.run.folder.rglob("*.log"))
    assert all(front.encrypted > count for front, count in zip(encrypted.fronts, before, strict=True))
    for secret in (
        encrypted.password,
        encrypted.dsn.split(":")[2].split("@")[0],
        encrypted.valkey.split(":")[2].split("@")[0],
    ):
        assert secret not in logs


def wrong_dsns(encrypted: Any) -> dict[str, tuple[str, str]]:
    user, _, host = encrypted.dsn.rpartition("@")
    other = user.rpartition(":")[0] + ":postgres-secret@" + host
    return {
        "foreign authority": (encrypted.dsn_with(encrypted.foreign), "name who signed its certificate as sslrootcert"),
        "another name": (encrypted.dsn_with(encrypted.ca, host="localhost"), "name the server in PAIDONCE_DSN as its"),
        "password": (f"{other}?sslmode=verify-full&sslrootcert={encrypted.ca}", "mend user and password"),
        "in the clear": (f"{encrypted.dsn}?sslmode=disable", "add sslmode=verify-full"),
        "no file": (f"{encrypted.dsn}?sslmode=verify-full&sslrootcert=/nonexistent", "names no file of PEM"),
    }


@pytest.mark.parametrize("case", ["foreign authority", "another name", "password", "in the clear", "no file"])
def test_who_is_refused_by_postgres_or_refuses_it_is_told_what_to_do(encrypted: Any, case: str) -> None:
    dsn, said = wrong_dsns(encrypted)[case]
    settings = Settings(dsn=dsn, api_pool_wait_s=1.0)
    bind = db.engine(settings)
    with pytest.raises(OperationalError) as raised, bind.connect():
        pass
    assert said in advice.of(raised.value)
    assert "postgres-secret" not in advice.of(raised.value)
    with pytest.raises(WRONG, match=said):
        CHECKS["PostgreSQL"](settings)


async def test_every_way_to_postgres_is_verified(encrypted: Any) -> None:
    settings = Settings(dsn=encrypted.dsn_with(encrypted.ca))
    bind = db.async_engine(settings, size=1)
    async with bind.connect() as tx:
        assert (await tx.execute(text("SELECT 1"))).scalar() == 1
    await bind.dispose()
    pool = db.hot_pool(settings, lock_timeout_ms=100)
    await pool.open(wait=True)
    await pool.close()
    foreign = db.async_engine(Settings(dsn=encrypted.dsn_with(encrypted.foreign)), size=1)
    with pytest.raises(OperationalError, match="certificate verify failed"):
        async with foreign.connect():
            pass


@pytest.fixture
def shared() -> Callable[[Settings], str]:
    """Asks Valkey as the API does."""

    async def ask(settings: Settings) -> str:
        state = SharedState(settings, SystemClock())
        try:
            return str(await state.call(state.client.ping))
        finally:
            await state.close()

    return lambda settings: asyncio.run(ask(settings))


def test_valkey_is_verified_and_who_it_refuses_is_told_so(
    encrypted: Any, shared: Callable[[Settings], str], capfd: pytest.CaptureFixture[str]
) -> None:
    good = {"valkey": encrypted.valkey, "valkey_ca": encrypted.ca, "valkey_call_s": 5.0}
    assert shared(Settings(**good)) == "True"
    assert CHECKS["Valkey"](Settings(**good)) == "answers"
    secret = encrypted.valkey.split(":")[2].split("@")[0]
    wrong = {
        "PAIDONCE_VALKEY_CA": good | {"valkey_ca": encrypted.foreign},
        "the server in PAIDONCE_VALKEY": good | {"valkey": encrypted.valkey.replace("127.0.0.1", "localhost")},
        "make PAIDONCE_VALKEY rediss": good
        | {"valkey": encrypted.valkey.replace("rediss:", "redis:"), "valkey_ca": None},
        "mend name and password": good | {"valkey": encrypted.valkey.replace(secret, "valkey-secret")},
    }
    for said, given in wrong.items():
        with pytest.raises(ValkeyAwayError):
            shared(Settings(**given))
        with pytest.raises(WRONG, match=said):
            CHECKS["Valkey"](Settings(**given))
    told = "".join(capfd.readouterr())
    assert "CERTIFICATE_VERIFY_FAILED" in told
    assert secret not in told
    assert "valkey-secret" not in told
