"""Do the operator's commands add people and show what was noticed, and may several processes begin at once?"""

import asyncio
import json

import psycopg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from paidonce.cli import app
from paidonce.devstack.issuer import people
from paidonce.devstack.issuer.database import Database

RUNNER = CliRunner()


@pytest.fixture
def command(issuer_database):
    def one(*arguments: str, said: str = ""):
        return RUNNER.invoke(app, ["issuer", *arguments], env={"PAIDONCE_ISSUER_DSN": issuer_database}, input=said)

    return one


async def test_a_person_that_was_added_logs_in_with_its_tenant_and_roles(command, native, keys):
    done = await asyncio.to_thread(command, "person", "eve", "--tenant", "globex", "--role", "support", said="pw\npw\n")
    assert done.exit_code == 0, done.output
    assert "pw" not in done.output.replace("Password", "")
    code = await native.code(username="eve", password="pw")
    claims = keys.claims((await native.exchange(code)).json()["access_token"], "http://127.0.0.1:8081")
    assert (claims["sub"], claims["tenant"], claims["roles"]) == ("eve", "globex", ["support"])
    await asyncio.to_thread(command, "person", "eve", said="other\nother\n")
    assert (await native.login(username="eve", password="pw")).status_code == 401


@pytest.mark.parametrize("arguments", [["x" * 129], ["eve\n"], ["eve", "--tenant", "initech"]])
def test_a_person_that_cannot_be(command, arguments):
    assert command("person", *arguments, said="pw\npw\n").exit_code == 1


async def test_events_are_shown(command, native):
    token = (await native.logged_in())["refresh_token"]
    await native.refresh(token)
    await native.refresh(token)
    shown = await asyncio.to_thread(command, "events", "--json", "--count", "1")
    (event,) = json.loads(shown.output)
    assert (event["name"], event["about"]["sub"]) == ("refresh_token_reused", "ann@acme.example")
    assert token not in shown.output
    assert "refresh_token_reused" in (await asyncio.to_thread(command, "events")).output


def test_without_a_database_they_say_what_to_set():
    done = RUNNER.invoke(app, ["issuer", "events"], env={"PAIDONCE_ISSUER_DSN": ""})
    assert done.exit_code == 1
    assert "PAIDONCE_ISSUER_DSN" in str(done.exception)


async def test_processes_that_begin_at_once_make_the_tables_once(postgres):
    name = "issuer_begins_at_once"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    dsn = postgres.dsn.rpartition("/")[0] + f"/{name}"
    databases = [Database(SecretStr(dsn)) for _ in range(6)]
    try:
        found = await asyncio.gather(*(one.run(people.find, "ann@acme.example") for one in databases))
        assert all(found)
    finally:
        for one in databases:
            await one.close()
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
