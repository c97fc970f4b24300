"""The console over real servers, a real issuer beside it, and a browser without windows that keeps cookies."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.types import ASGIApp

from paidonce.app.db import engine
from paidonce.app.settings import Settings
from paidonce.console.main import create_app
from paidonce.devstack.issuer.app import create
from paidonce.devstack.issuer.clients import OPERATIONS
from paidonce.devstack.issuer.database import Database
from paidonce.devstack.issuer.first_people import operator
from paidonce.devstack.issuer.logins import Logins
from paidonce.devstack.issuer.signing import kept_in
from paidonce.devstack.ports import free_port
from paidonce.devstack.postgres import Postgres
from paidonce.devstack.waiting import until


@contextmanager
def served(app: ASGIApp, port: int) -> Iterator[None]:
    """Serve it on loopback, from a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, within_s=20, what="the server")
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(20)


@dataclass
class Browser:
    """Somebody at a browser: follows the console's redirects, and the issuer's form by name and password."""

    http: httpx.Client
    app: Starlette

    @property
    def origin(self) -> str:
        return str(self.http.base_url).rstrip("/")

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, path: str, *, origin: str | None = "", **form: str) -> httpx.Response:
        headers = {} if origin is None else {"Origin": origin or self.origin}
        return self.http.post(path, data=form, headers=headers)

    def form_token(self, path: str = "/") -> str:
        [token, *_] = re.findall(r'name="form_token" value="([^"]+)"', self.page(path))
        return token

    def log_in(self, credentials: tuple[str, str] | None = None, to: str = "/") -> httpx.Response:
        """Go the whole way, and return what the console answers at its end."""
        name, password = credentials or operator()
        asked = self.get(f"/login?to={to}").headers["location"]
        with httpx.Client(trust_env=False) as issuer:
            shown = issuer.get(asked)
            hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', shown.text)
            form = {key: unescape(value) for key, value in hidden} | {"username": name, "password": password}
            back = issuer.post(urljoin(asked, "/authorize"), data=form).headers["location"]
        return self.get(f"/callback?{urlsplit(back).query}")


@pytest.fixture(scope="session")
def issuer_url(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The development issuer, served on loopback."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    folder: Path = tmp_path_factory.mktemp("issuer")
    database, logins = Database(SecretStr(postgres.dsn)), Logins(per_minute=1000)
    application = create(kept_in(folder), url, database=database, logins=logins)
    with served(application, port):
        yield url


@pytest.fixture
def own(settings: Settings, issuer_url: str) -> Settings:
    """The console's settings."""
    return settings.model_copy(
        update={
            "issuer": issuer_url,
            "console_look_s": 60.0,
            "console_tenants": frozenset({OPERATIONS}),
        }
    )


@pytest.fixture
def bind(own: Settings) -> Iterator[Engine]:
    opened = engine(own, size=2)
    yield opened
    opened.dispose()


@pytest.fixture
def opened() -> Iterator[Callable[[Settings], Browser]]:
    """Start a console by its settings, and return somebody who is not logged in there."""
    with ExitStack() as stack:

        def start(settings: Settings) -> Browser:
            port = free_port()
            app = create_app(settings.model_copy(update={"console_port": port}))
            stack.enter_context(served(app, port))
            http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False))
            return Browser(http, app)

        yield start


@pytest.fixture
def browser(own: Settings, opened: Callable[[Settings], Browser]) -> Browser:
    """Somebody who is not logged in."""
    return opened(own)


@pytest.fixture
def olga(browser: Browser) -> Browser:
    """The operator, logged in."""
    assert browser.log_in().status_code == 303
    return browser
