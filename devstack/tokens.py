"""How do demo, tests and benchmarks get a token? From the running development issuer, as any client would."""

import ssl
from collections.abc import Collection

import httpx

from paidonce.devstack.issuer.clients import credentials

#: Seconds until an issuer on this machine that does not answer is given up.
ANSWER_S = 10.0


class TokenRefusedError(Exception):
    """The issuer gave no token: the message says what it answered."""


def fetch_token(
    issuer_url: str,
    *,
    tenant: str = "acme",
    sub: str | None = None,
    scopes: Collection[str] = (),
    roles: Collection[str] = (),
    ttl: int | None = None,
) -> str:
    """Return an access token of the issuer at `issuer_url`: all scopes unless some are named, `ttl` in seconds.

    Raises:
        TokenRefusedError: the issuer knows no such tenant, scope or time.
        httpx.HTTPError: it does not answer.
    """
    form: dict[str, str | list[str]] = {"grant_type": "client_credentials", "role": list(roles)}
    if scopes:
        form["scope"] = " ".join(scopes)
    if sub is not None:
        form["sub"] = sub
    if ttl is not None:
        form["ttl"] = str(ttl)
    # The machine's own trust store, as the verifier has it: an issuer in a container has its own authority.
    with httpx.Client(verify=ssl.create_default_context(), trust_env=False, timeout=ANSWER_S) as client:
        answer = client.post(f"{issuer_url.rstrip('/')}/token", data=form, auth=credentials(tenant))
    if answer.status_code != httpx.codes.OK:
        raise TokenRefusedError(f"{answer.status_code}: {answer.text[:500]}")
    return str(answer.json()["access_token"])
