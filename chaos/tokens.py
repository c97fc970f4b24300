"""What do the clients show? A token for each tenant, and a new one long before it expires, as any client would."""

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import httpx

from paidonce.app.auth.policy import ADMIN
from paidonce.devstack.tokens import TokenRefusedError, fetch_token

#: Seconds after which new ones are asked for. They live ten minutes: an issuer may be away several times in a row.
RENEW_EVERY_S = 120.0


async def first_tokens(issuer: str, tenants: Sequence[str]) -> dict[str, str]:
    """Return a token for each tenant; raises as `fetch_token` does."""
    return {tenant: await _token(issuer, tenant) for tenant in tenants}


async def renew(issuer: str, tokens: dict[str, str], *, every_s: float = RENEW_EVERY_S) -> NoReturn:
    """Put new tokens in the place of the old, again and again; where the issuer gives none the old one stays."""
    while True:
        await asyncio.sleep(every_s)
        for tenant in tokens:
            try:
                tokens[tenant] = await _token(issuer, tenant)
            except (TokenRefusedError, httpx.HTTPError):
                continue


async def _token(issuer: str, tenant: str) -> str:
    return await asyncio.to_thread(fetch_token, issuer, tenant=tenant, roles=[ADMIN])
