"""How often may somebody try to log in?"""

import subprocess
import sys

import httpx
import pytest
from pydantic import SecretStr

from paidonce.devstack.issuer import people
from paidonce.devstack.issuer.app import create
from paidonce.devstack.issuer.codes import s256
from paidonce.devstack.issuer.database import Database
from paidonce.devstack.issuer.first_people import first_person
from paidonce.devstack.issuer.logins import ADDRESS_SHARE, PER_MINUTE, Logins

ISS = "http://127.0.0.1:8081"


@pytest.fixture
async def attempt(issuer_database, keys):
    database = Database(SecretStr(issuer_database))
    application = create(keys, ISS, database=database, logins=Logins())

    async def one(name: str, address: str = "192.0.2.1", password: str = "guess") -> httpx.Response:
        form = {
            "response_type": "code",
            "client_id": "paidonce-native",
            "redirect_uri": "http://127.0.0.1:9/callback",
            "code_challenge": s256("v" * 43),
            "code_challenge_method": "S256",
            "username": name,
            "password": password,
        }
        transport = httpx.ASGITransport(application, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url=ISS) as http:
            return await http.post("/authorize", data=form, headers={"Origin": ISS})

    yield one
    await database.close()


async def test_a_name_may_be_tried_a_few_times_a_minute_whoever_tries(attempt):
    name, password = first_person("acme")
    for number in range(PER_MINUTE):
        assert (await attempt(name, f"192.0.2.{number}")).status_code == 401
    limited = await attempt(name, "198.51.100.1", password)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "60")
    assert "location" not in limited.headers, "the right password too"
    other, password = first_person("globex")
    assert (await attempt(other, "192.0.2.1", password)).status_code == 303, "other names are free"


async def test_an_address_that_tries_many_names_is_limited_and_leaves_the_others_alone(attempt):
    for number in range(PER_MINUTE * ADDRESS_SHARE):
        assert (await attempt(f"name-{number}")).status_code == 401
    name, password = first_person("acme")
    for _ in range(PER_MINUTE + 1):
        assert (await attempt(name, password=password)).status_code == 429
    assert (await attempt(name, "192.0.2.9", password)).status_code == 303, "its attempts were not counted to the name"


async def test_no_password_is_hashed_beyond_the_limit(attempt, monkeypatch):
    hashed = []
    fits = people.fits
    monkeypatch.setattr(people, "fits", lambda *given: hashed.append(1) or fits(*given))
    for _ in range(3 * PER_MINUTE):
        await attempt("ann@acme.example")
    assert len(hashed) == PER_MINUTE


def test_a_password_has_the_price_of_the_rfc():
    # RFC 9106, section 4, second choice; in a process where nothing was replaced.
    shows = "from paidonce.devstack.issuer import people; print(people.HASHER.hash('x'))"
    said = subprocess.run([sys.executable, "-c", shows], capture_output=True, text=True, check=True).stdout
    assert said.startswith("$argon2id$v=19$m=65536,t=3,")


async def test_an_unknown_name_is_hashed_too(attempt, monkeypatch):
    hashed = []
    verify = type(people.HASHER).verify
    monkeypatch.setattr(type(people.HASHER), "verify", lambda *given: hashed.append(1) or verify(*given))
    await attempt("nobody@acme.example")
    assert hashed == [1]
