"""Does the API start, speak and stop as a process should? Its own process, with signals."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import orjson
import psycopg
import pytest

from paidonce.devstack.ports import free_port
from paidonce.devstack.waiting import until

P = "/v1/payments"
GOOD = {"amount": 1999, "currency": "EUR", "payment_method": "pm_ok", "reference": "SECRET-REFERENCE"}
SERVE = "from paidonce.app.main import serve; from paidonce.app.settings import settings; serve(settings())"
START_S, STOP_S = 60, 20


@dataclass
class Process:
    running: subprocess.Popen[bytes]
    url: str
    log: Path

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, trust_env=False, timeout=5)

    def answers(self) -> bool:
        assert self.running.poll() is None, self.log.read_text()
        try:
            return self.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(STOP_S)


@contextmanager
def process(folder: Path, **settings: str) -> Iterator[Process]:
    port, log = free_port(), folder / "api.log"
    environment = {f"PAIDONCE_{name.upper()}": value for name, value in settings.items()}
    with log.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            env=os.environ | environment | {"PAIDONCE_API_PORT": str(port)},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Process(running, f"http://127.0.0.1:{port}", log)
        finally:
            running.kill()
            running.wait(STOP_S)


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[Process]:
    with process(folder, **settings) as api:
        until(api.answers, within_s=START_S, what="the API to answer")
        yield api


def test_a_stop_lets_running_requests_end(
    tmp_path: Path, database: str, issuer_url: str, token: Callable[..., str]
) -> None:
    key = uuid4().hex
    with (
        started(tmp_path, dsn=database, issuer=issuer_url, idempotency_wait_ms="8000") as api,
        psycopg.connect(database) as other,
        ThreadPoolExecutor() as pool,
    ):
        # The same key, claimed by a transaction that is still open: the request waits on its row.
        other.execute(
            "INSERT INTO idempotency (tenant, endpoint, idem_key, request_hash, hash_version, expires_at)"
            " VALUES ('acme', 'POST /v1/payments', %s, 'x', 1, now())",
            [key],
        )
        headers = {"Authorization": f"Bearer {token('acme')}", "Idempotency-Key": key}
        request = pool.submit(httpx.post, api.url + P, json=GOOD, headers=headers, trust_env=False, timeout=20)
        until(lambda: _waits_on_a_lock(other), within_s=5, what="the request to wait")
        api.running.send_signal(signal.SIGTERM)
        until(lambda: not _accepts(api), within_s=5, what="the listening socket to close")
        assert api.running.poll() is None, "the process left a request behind"
        other.rollback()
        assert request.result(10).status_code == 201
        assert api.running.wait(STOP_S) == 0, api.log.read_text()


def _waits_on_a_lock(connection: psycopg.Connection) -> bool:
    found = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return found is not None and found[0] > 0


def _accepts(api: Process) -> bool:
    try:
        api.get("/healthz")
    except httpx.TransportError:
        return False
    return True


def test_the_log_has_one_line_a_request_and_no_secret(
    tmp_path: Path, database: str, issuer_url: str, token: Callable[..., str]
) -> None:
    bearer, key = token("acme"), uuid4().hex
    with started(tmp_path, dsn=database, issuer=issuer_url) as api:
        headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": key, "X-Request-Id": "of-mine"}
        payment = httpx.post(api.url + P, json=GOOD, headers=headers, trust_env=False)
        assert payment.status_code == 201
        customer = f"{api.url}/v1/customers/ada@example.com"
        httpx.put(customer, json={"name": "Ada Lovelace"}, headers=headers | {"X-Request-Id": "c"}, trust_env=False)
        assert api.stop() == 0
    text = api.log.read_text()
    lines = [orjson.loads(line) for line in text.splitlines()]
    mine = [line for line in lines if line.get("request_id") == "of-mine" and line["event"] == "request"]
    assert len(mine) == 1
    wanted = {"method": "POST", "route": P, "status": 201, "tenant": "acme", "process": "api", "level": "info"}
    assert wanted.items() <= mine[0].items()
    assert mine[0]["ms"] > 0
    assert len(mine[0]["trace_id"]) == 32
    for secret in (bearer, bearer.split(".")[1], "SECRET-REFERENCE", "pm_ok", "Lovelace", "ada@example.com"):
        assert secret not in text


@pytest.mark.slow
def test_without_a_database_it_says_so(tmp_path: Path, issuer_url: str, token: Callable[..., str]) -> None:
    nowhere = f"postgresql://paidonce@127.0.0.1:{free_port()}/paidonce"
    with started(tmp_path, dsn=nowhere, issuer=issuer_url, api_pool_wait_s="0.3") as api:
        ready = api.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "not-ready")
        assert ready.headers["retry-after"]
        headers = {"Authorization": f"Bearer {token('acme')}", "Idempotency-Key": "k"}
        for answer in (
            httpx.post(api.url + P, json=GOOD, headers=headers, trust_env=False),
            httpx.get(api.url + P, headers=headers, trust_env=False),
            httpx.put(f"{api.url}/v1/customers/c", json={"name": "Ada"}, headers=headers, trust_env=False),
        ):
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
            assert answer.headers["content-type"] == "application/problem+json"
        me = httpx.get(f"{api.url}/v1/me", headers=headers, trust_env=False)
        assert me.status_code == 200, "nothing behind the token is asked"
        assert api.stop() == 0


@pytest.mark.slow
def test_without_an_issuer_it_says_so(tmp_path: Path, database: str) -> None:
    with started(tmp_path, dsn=database, issuer=f"http://127.0.0.1:{free_port()}") as api:
        ready = api.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "not-ready")
        answer = httpx.get(f"{api.url}/v1/me", headers={"Authorization": f"Bearer {_a_token()}"}, trust_env=False)
        assert answer.status_code in (401, 503)
        assert api.stop() == 0


def _a_token() -> str:
    return "eyJhbGciOiJSUzI1NiIsImtpZCI6IngiLCJ0eXAiOiJhdCtqd3QifQ.e30.AAAA"


def test_it_drains_before_it_stops(tmp_path: Path, database: str, issuer_url: str) -> None:
    """It answers for as long as it was told, and says that it is not ready."""
    with started(tmp_path, dsn=database, issuer=issuer_url, api_drain_s=str(START_S)) as api:
        until(lambda: api.get("/readyz").status_code == 200, within_s=START_S, what="the API to be ready")
        api.running.send_signal(signal.SIGTERM)
        until(lambda: api.get("/readyz").status_code == 503, within_s=5, what="the API to say that it stops")
        assert api.get("/readyz").json()["detail"] == "this process stops"
        assert api.get("/healthz").status_code == 200
        api.running.send_signal(signal.SIGINT)
        assert api.running.wait(STOP_S) == 0, api.log.read_text()


@pytest.mark.slow
def test_it_is_not_ready_while_the_database_takes_no_writes(tmp_path: Path, database: str, issuer_url: str) -> None:
    name = database.rpartition("/")[2]
    with psycopg.connect(database, autocommit=True, options="-c default_transaction_read_only=off") as tables:
        tables.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        with started(tmp_path, dsn=database, issuer=issuer_url) as api:
            assert api.get("/readyz").json()["detail"] == "the database takes no writes"
            tables.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
            tables.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                [name],
            )
            until(lambda: api.get("/readyz").status_code == 200, within_s=START_S, what="the API to be ready")
            assert api.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0001", "9999"])
def test_another_schema_stops_it(tmp_path: Path, database: str, issuer_url: str, version: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [version])
    with process(tmp_path, dsn=database, issuer=issuer_url) as api:
        assert api.running.wait(START_S) != 0
        assert f"the database has schema version {version}" in api.log.read_text()
