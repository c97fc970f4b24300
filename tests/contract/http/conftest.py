"""The API under its real uvicorn, over a real PostgreSQL and the development issuer, all on loopback."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn

from paidonce.app.issuers import TrustedIssuer
from paidonce.app.main import config
from paidonce.app.settings import Settings
from paidonce.devstack.issuer import app as issuer_app
from paidonce.devstack.issuer.signing import kept_in
from paidonce.devstack.pace import new_secret
from paidonce.devstack.postgres import Postgres
from paidonce.devstack.tokens import fetch_token
from paidonce.devstack.valkey import Valkey

START_S = 60


class Served(uvicorn.Server):
    """A uvicorn that runs in a thread and says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()


@contextmanager
def served(config: uvicorn.Config, listening: socket.socket) -> Iterator[str]:
    server = Served(config)
    thread = threading.Thread(target=server.run, args=[[listening]])
    thread.start()
    try:
        assert server.serving.wait(START_S)
        assert server.started
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_S)
        assert not thread.is_alive()


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture(scope="session")
def issuer_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bound = listening()
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    app = issuer_app.create(kept_in(tmp_path_factory.mktemp("issuer")), url)
    with served(uvicorn.Config(app, log_config=None, lifespan="off"), bound) as started:
        yield started


@pytest.fixture(scope="session")
def api_database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"paidonce_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield urlsplit(postgres.dsn)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def api_settings(api_database: str, issuer_url: str, valkey: Valkey) -> Settings:
    return Settings(
        dsn=api_database,
        valkey=valkey.url,
        issuer=issuer_url,
        provider_secret=new_secret(),
        webhook_private_addresses=True,
        api_connections_max=4,
    )


@pytest.fixture(scope="session")
def api(api_settings: Settings) -> Iterator[str]:
    """The URL of the running API."""
    with served(config(api_settings), listening()) as url:
        yield url


@pytest.fixture(scope="session")
def key_set_url(parties: Any) -> Iterator[str]:
    """Where the key set is that the attack table needs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": parties.key_set()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/jwks"
        server.shutdown()
        thread.join(START_S)


@pytest.fixture(scope="session")
def guarded_settings(api_settings: Settings, key_set_url: str) -> Settings:
    """The API's settings, but for an issuer whose tokens the test forges, for the tenants acme and globex alone."""
    issuer = TrustedIssuer(issuer="https://issuer.example", jwks_url=key_set_url, tenants=frozenset({"acme", "globex"}))
    # A made-up key id waits for the next fetch: in the table are several.
    return api_settings.model_copy(update={"issuers": [issuer], "jwks_cooldown_s": 0.02})


@pytest.fixture(scope="session")
def guarded(guarded_settings: Settings) -> Iterator[str]:
    """The URL of an API over the same database that takes forged tokens."""
    with served(config(guarded_settings), listening()) as url:
        yield url


@pytest.fixture
def serving() -> Callable[[uvicorn.Config], AbstractContextManager[str]]:
    """Serve what a uvicorn configuration says, on a port of its own."""
    return lambda config: served(config, listening())


@pytest.fixture
def rows(api_database: str) -> Iterator[psycopg.Connection]:
    """A connection that reads what the API wrote."""
    with psycopg.connect(api_database, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def token(issuer_url: str) -> Callable[..., str]:
    """Give a token of a tenant."""
    return lambda tenant="acme", **options: fetch_token(issuer_url, tenant=tenant, **options)


@pytest.fixture(scope="session")
def client(api: str, token: Callable[..., str]) -> Iterator[httpx.Client]:
    """A client of the tenant acme."""
    with _client(api, token("acme", roles=["admin", "operator"])) as opened:
        yield opened


@pytest.fixture(scope="session")
def stranger_client(api: str, token: Callable[..., str]) -> Iterator[httpx.Client]:
    """A client of the tenant globex."""
    with _client(api, token("globex", roles=["admin", "operator"])) as opened:
        yield opened


def _client(api: str, token: str) -> httpx.Client:
    return httpx.Client(
        base_url=api, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=10, follow_redirects=False
    )


#: Everything that a request could change.
TABLES = (
    "idempotency",
    "payments",
    "cart_checkouts",
    "refunds",
    "customers",
    "webhook_endpoints",
    "outbox",
    "inbox",
    "inbox_foreign",
    "dead_letters",
    "effects",
    "effect_history",
    "ledger_entries",
)


@pytest.fixture
def state(rows: psycopg.Connection) -> Callable[[], dict[str, str]]:
    """Give a digest of every table, rows and their contents."""

    def read() -> dict[str, str]:
        return {table: _digest(rows, table) for table in TABLES}

    return read


def _digest(rows: psycopg.Connection, table: str) -> str:
    query = f"SELECT count(*) || ':' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {table} t"
    found = rows.execute(query).fetchone()
    assert found is not None
    return str(found[0])
