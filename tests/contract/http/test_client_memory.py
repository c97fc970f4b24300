"""Does a replica grow with the number of its clients? Each comes once, with a token, a key and a cart of its own."""

import gc
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from uuid import uuid4

import httpx
import pytest
import uvicorn

from paidonce.app.auth import verifier
from paidonce.app.main import config
from paidonce.app.settings import Settings
from paidonce.devstack.issuer.clients import credentials

CART = {"currency": "EUR", "items": [{"name": "x", "unit_amount": 1, "quantity": 1}]}
#: Clients that fill what is bounded, and clients that must then add nothing.
WARM, NEW = 80, 300
#: Blocks that a client may leave: one that is remembered leaves 18, and the process itself comes and goes by 300.
EACH = 3


def visit(api: httpx.Client, issuer: httpx.Client) -> None:
    """Come once, as somebody new: a token, a cart, its checkout under a new key."""
    form = {"grant_type": "client_credentials", "sub": f"sub-{uuid4().hex}"}
    token = issuer.post("/token", data=form, auth=credentials("acme")).json()["access_token"]
    headers, path = {"Authorization": f"Bearer {token}"}, f"/v1/carts/{uuid4().hex}"
    put = api.put(path, json=CART, headers=headers)
    assert put.headers["ratelimit"].startswith('"subject";r=99;')
    headers |= {"If-Match": put.headers["etag"], "Idempotency-Key": uuid4().hex}
    assert api.post(f"{path}/checkout", json={"payment_method": "pm_ok"}, headers=headers).status_code == 201


def blocks() -> int:
    """Return how many blocks Python has allocated in this process, in which the API runs."""
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.parametrize(
    ("kept_most", "grows"),
    [pytest.param(32, False, id="bounded"), pytest.param(1_000_000, True, id="unbounded", marks=pytest.mark.slow)],
)
def test_new_clients_leave_nothing_behind(
    kept_most: int,
    grows: bool,
    monkeypatch: pytest.MonkeyPatch,
    api_settings: Settings,
    issuer_url: str,
    serving: Callable[[uvicorn.Config], AbstractContextManager[str]],
) -> None:
    """Both ways: a cache without its bound shows that this would see a client that is remembered."""
    monkeypatch.setattr(verifier, "VERIFIED_MAX", kept_most)
    settings = api_settings.model_copy(update={"rate_limit_subject": "100/day", "rate_limit_tenant": "1000000/day"})
    with (
        serving(config(settings)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=20) as api,
        httpx.Client(base_url=issuer_url, trust_env=False, timeout=20) as issuer,
    ):
        for _ in range(WARM):
            visit(api, issuer)
        before = blocks()
        for _ in range(NEW):
            visit(api, issuer)
        grown = blocks() - before
    assert (grown > NEW * EACH) == grows, f"{NEW} new clients left {grown} blocks of memory"
