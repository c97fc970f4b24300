"""The issuer's application over a real PostgreSQL, and a program that lets people log in, as RFC 6749 has it."""

import re
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr

from paidonce.devstack.issuer import people
from paidonce.devstack.issuer.app import create
from paidonce.devstack.issuer.clients import BROWSER, NATIVE
from paidonce.devstack.issuer.codes import s256
from paidonce.devstack.issuer.cookie import NAME
from paidonce.devstack.issuer.database import Database
from paidonce.devstack.issuer.first_people import first_person
from paidonce.devstack.issuer.logins import Logins
from paidonce.devstack.issuer.signing import kept_in
from paidonce.devstack.postgres import Postgres

ISS = "http://127.0.0.1:8081"
ORIGIN = "http://127.0.0.1:5173"
REDIRECT = f"{ORIGIN}/callback"


class SetClock:
    """The issuer's clock, set by the test."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        raise NotImplementedError


@dataclass
class Program:
    """A client that lets people log in: the native one, or with a cookie the browser's."""

    http: httpx.AsyncClient
    id: str = NATIVE
    redirect_uri: str = REDIRECT
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def question(self, **changes: str | None) -> dict[str, str]:
        asked = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.redirect_uri,
            "state": "s-1",
            "code_challenge": s256(self.verifier),
            "code_challenge_method": "S256",
        } | changes
        return {name: value for name, value in asked.items() if value is not None}

    async def page(self, **changes: str | None) -> httpx.Response:
        return await self.http.get("/authorize", params=self.question(**changes))

    async def login(
        self, tenant: str = "acme", *, headers: dict | None = None, **changes: str | None
    ) -> httpx.Response:
        """Fill the page's form in, as it came, and send it."""
        name, password = first_person(tenant)
        shown = await self.page(**{key: value for key, value in changes.items() if key not in ("username", "password")})
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', shown.text))
        form = hidden | {"username": name, "password": password} | changes
        return await self.http.post("/authorize", data=form, headers=headers or {"Origin": ISS})

    async def code(self, **changes: str | None) -> str:
        answer = await self.login(**changes)
        assert answer.status_code == 303, answer.text
        return returned(answer)["code"]

    async def exchange(self, code: str, **changes: str) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "client_id": self.id,
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        } | changes
        return await self.http.post("/token", data=form, headers={"Origin": ORIGIN})

    async def logged_in(self, **changes: str) -> dict:
        answer = await self.exchange(await self.code(), **changes)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refresh(self, token: str, **changes: str) -> httpx.Response:
        form = {"grant_type": "refresh_token", "client_id": self.id, "refresh_token": token} | changes
        return await self.http.post("/token", data=form)

    async def refresh_by_cookie(self, token: str, origin: str | None = ORIGIN) -> httpx.Response:
        headers = {"Cookie": f"{NAME}={token}"} | ({"Origin": origin} if origin else {})
        form = {"grant_type": "refresh_token", "client_id": self.id}
        return await self.http.post("/token", data=form, headers=headers)


def returned(answer: httpx.Response) -> dict[str, str]:
    """Return what the redirect tells the client."""
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


@pytest.fixture(scope="module", autouse=True)
def _quick_passwords() -> Iterator[None]:
    """Hash cheaply: some hundred logins at full price are most of the time; test_login_limits.py holds the price."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "HASHER", quick)
        patch.setattr(people, "_NOBODY_S", quick.hash("nobody"))
        yield


@pytest.fixture(scope="module")
def issuer_database(postgres: Postgres) -> Iterator[str]:
    """An empty database: nothing of the product is in it."""
    name = f"issuer_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(postgres.dsn)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return kept_in(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def http(issuer_database: str, keys, clock: SetClock) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the issuer."""
    database = Database(SecretStr(issuer_database))
    application = create(keys, ISS, database=database, logins=Logins(per_minute=1_000), clock=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url=ISS) as client:
        yield client
    await database.close()


@pytest.fixture
def native(http: httpx.AsyncClient) -> Program:
    return Program(http)


@pytest.fixture
def browser(http: httpx.AsyncClient) -> Program:
    return Program(http, BROWSER)


@pytest.fixture
def rows(issuer_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(issuer_database, autocommit=True) as connection:
        yield connection
