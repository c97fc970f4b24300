"""Does `GET /v1/me` ask any server? All of them are unreachable here, or silent, and it answers."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
import uvicorn

from paidonce.app.main import config
from paidonce.app.settings import Settings

Serving = Callable[[uvicorn.Config], AbstractContextManager[str]]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses: bound, and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def keys(api_settings: Settings, serving: Serving, token: Callable[..., str], tmp_path: Path) -> Path:
    """A folder in which a replica has left the issuer's keys."""
    folder = tmp_path / "keys"
    settings = api_settings.model_copy(update={"jwks_folder": folder})
    with serving(config(settings)) as url:
        headers = {"Authorization": f"Bearer {token('acme')}"}
        assert httpx.get(f"{url}/v1/me", headers=headers, trust_env=False).status_code == 200
    return folder


@pytest.mark.parametrize("how", ["closed", pytest.param("silent", marks=pytest.mark.slow)])
def test_no_server_is_asked(
    how: str, keys: Path, issuer_url: str, serving: Serving, token: Callable[..., str], request: pytest.FixtureRequest
) -> None:
    port: int = request.getfixturevalue(f"{how}_port")
    nowhere = f"127.0.0.1:{port}"
    settings = Settings(
        dsn=f"postgresql://nobody@{nowhere}/none",
        valkey=f"redis://{nowhere}/0",
        kafka=nowhere,
        provider_url=f"http://{nowhere}",
        issuer=issuer_url,
        jwks_url=f"http://{nowhere}/jwks",
        jwks_folder=keys,
        rate_limit_subject="1/day",
        rate_limit_when_away="closed",
        valkey_call_s=0.2,
        api_pool_wait_s=0.5,
    )
    tokens = [token("acme", sub=f"sub-{number}") for number in range(3)]
    with serving(config(settings)) as url, httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        for sub, bearer in enumerate(tokens):
            for _ in range(5):
                me = client.get("/v1/me", headers={"Authorization": f"Bearer {bearer}"})
                assert (me.status_code, me.json()["sub"], me.json()["tenant"]) == (200, f"sub-{sub}", "acme")
        forged = client.get("/v1/me", headers={"Authorization": f"Bearer {tokens[0][:-8]}AAAAAAAA"})
        assert forged.status_code == 401, "it is checked, by the keys that were left"
        for path in ("/v1/payments", "/v1/carts/c-1", "/readyz"):
            assert client.get(path, headers={"Authorization": f"Bearer {tokens[0]}"}).status_code == 503, path
