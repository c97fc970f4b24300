"""Does the development issuer, as a process of its own, give tokens that the API's verifier takes?"""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import httpx
import pytest

from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier
from paidonce.app.errors import InvalidTokenError
from paidonce.app.settings import Settings
from paidonce.chaos.tokens import first_tokens, renew
from paidonce.devstack.issuer import key_file
from paidonce.devstack.issuer.clients import credentials
from paidonce.devstack.tokens import TokenRefusedError, fetch_token


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(folder, port: int):
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "PAIDONCE_ISSUER": url,
        "PAIDONCE_ISSUER_PORT": str(port),
        "PAIDONCE_ISSUER_FOLDER": str(folder),
    }
    command = [sys.executable, "-c", "from paidonce.devstack.issuer.main import main; main()"]
    process = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"{url}/healthz", trust_env=False)
                break
            except httpx.TransportError:
                assert process.poll() is None, "the issuer ended"
                assert time.monotonic() < deadline, "the issuer did not start"
        yield url
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("issuer") / "keys"


@pytest.fixture(scope="module")
def issuer(folder):
    with running(folder, free_port()) as url:
        yield url


async def verified(url: str, token: str):
    settings = Settings(issuer=url)
    trust = Trust(settings)
    try:
        return await Verifier(settings, trust).verify([f"Bearer {token}".encode()])
    finally:
        await trust.close()


async def test_its_tokens_are_taken(issuer):
    token = fetch_token(issuer, tenant="globex", sub="ann", scopes=["payments:read"], roles=["support"], ttl=30)
    principal = await verified(issuer, token)
    assert (principal.sub, principal.tenant, principal.client_id) == ("ann", "globex", "globex-development")
    assert (principal.scopes, principal.roles) == (frozenset({"payments:read"}), frozenset({"support"}))
    assert 0 < principal.expires_at.timestamp() - time.time() <= 30


async def test_by_default_a_token_has_every_scope(issuer):
    principal = await verified(issuer, fetch_token(issuer))
    assert principal.tenant == "acme"
    assert {"payments:read", "payments:write", "payments:refund", "webhooks:write"} <= principal.scopes


def test_no_token_for_strangers(issuer):
    with pytest.raises(TokenRefusedError, match="invalid_client"):
        fetch_token(issuer, tenant="initech")
    with pytest.raises(TokenRefusedError, match="invalid_scope"):
        fetch_token(issuer, scopes=["admin"])


def test_discovery_leads_to_both(issuer):
    discovery = httpx.get(f"{issuer}/.well-known/openid-configuration").json()
    assert discovery["issuer"] == issuer
    jwk = httpx.get(discovery["jwks_uri"]).json()["keys"][0]
    assert set(jwk) == {"kty", "n", "e", "kid", "use", "alg"}  # nothing private
    form = {"grant_type": "client_credentials"}
    answer = httpx.post(discovery["token_endpoint"], data=form, auth=credentials("acme"))
    assert (answer.status_code, answer.json()["token_type"], answer.json()["expires_in"]) == (200, "Bearer", 600)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        ({"data": {"grant_type": "client_credentials"}}, 401, "invalid_client"),
        ({"json": {"grant_type": "client_credentials"}}, 400, "invalid_request"),
        (
            {"content": b"a=" + b"x" * 20_000, "headers": {"content-type": "application/x-www-form-urlencoded"}},
            413,
            "invalid_request",
        ),
    ],
)
def test_errors_are_those_of_the_rfc(issuer, request_, status, error):
    answer = httpx.post(f"{issuer}/token", **request_)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_a_get_gives_no_token(issuer):
    assert httpx.get(f"{issuer}/token", params={"grant_type": "client_credentials"}).status_code == 405


@pytest.mark.slow
async def test_the_key_survives_a_restart_and_is_private(issuer, folder):
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with running(folder, free_port()) as again:
        assert httpx.get(f"{again}/.well-known/jwks.json").json() == httpx.get(f"{issuer}/.well-known/jwks.json").json()
        with pytest.raises(InvalidTokenError):  # the same key, but another `iss`
            await verified(issuer, fetch_token(again))


def rotated(folder) -> str:
    """Rotate as an operator does; return what the command says."""
    command = [sys.executable, "-m", "paidonce.cli", "issuer", "rotate", "--at-once"]
    environment = os.environ | {"PAIDONCE_ISSUER_FOLDER": str(folder)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def kid(token: str) -> str:
    return json.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"]


@pytest.mark.slow
async def test_a_rotation_by_command_reaches_the_running_issuer_and_costs_no_token(issuer, folder):
    before = fetch_token(issuer)
    new = rotated(folder).split()[0]
    after = fetch_token(issuer)
    assert kid(after) == new != kid(before)
    kids = {jwk["kid"] for jwk in httpx.get(f"{issuer}/.well-known/jwks.json").json()["keys"]}
    assert {kid(before), new} <= kids
    assert (await verified(issuer, before)).tenant == (await verified(issuer, after)).tenant == "acme"
    key_file.rotate(folder, datetime.now(UTC), drop=True)
    for leaked in (before, after):
        with pytest.raises(InvalidTokenError):
            await verified(issuer, leaked)
    assert (await verified(issuer, fetch_token(issuer))).tenant == "acme"


@pytest.mark.slow
def test_the_rigs_clients_get_new_tokens_and_keep_the_old_while_there_are_none(tmp_path) -> None:
    async def after(issuer: str, tokens: dict[str, str], seconds: float) -> dict[str, str]:
        with suppress(TimeoutError):
            await asyncio.wait_for(renew(issuer, tokens, every_s=0.05), seconds)
        return tokens

    async def conversation(url: str) -> tuple[dict[str, str], ...]:
        first = await first_tokens(url, ["acme", "globex"])
        nobody = f"http://127.0.0.1:{free_port()}"
        return first, await after(nobody, first.copy(), 0.5), await after(url, first.copy(), 2)

    with running(tmp_path, free_port()) as url:
        first, without_issuer, renewed = asyncio.run(conversation(url))
    assert without_issuer == first
    assert all(renewed[tenant] != first[tenant] for tenant in ("acme", "globex"))
