"""What does the issuer say of this token? One question by RFC 7662, over TLS, capped in size and time.

Whatever is not a plain yes or no is a failure, and nobody is refused for it (docs/design.md, "Who may call").
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

import httpx

from paidonce.app.auth.jwks import FETCH_S, checked_url, discovered, read_capped
from paidonce.app.auth.strict_json import parse_object
from paidonce.app.issuers import OpaqueTokens, TrustedIssuer
from paidonce.app.steps import step


class IntrospectionFailedError(Exception):
    """The issuer said neither yes nor no: the message says what happened instead."""


class IntrospectionCall:
    """Asks one issuer."""

    def __init__(self, issuer: TrustedIssuer, opaque: OpaqueTokens, client: httpx.AsyncClient) -> None:
        """Ask nothing yet; raises ConfigurationError when it could not be asked safely."""
        self._issuer = issuer.issuer
        self._client = client
        checked_url(opaque.url or issuer.issuer)
        self._told = self._url = opaque.url
        # RFC 6749, section 2.3.1: both are encoded as in a form first.
        self._auth = httpx.BasicAuth(quote_plus(opaque.client_id), quote_plus(opaque.client_secret.get_secret_value()))

    async def ask(self, token: str) -> Mapping[str, Any] | None:
        """Return what the issuer says of an active token; None: it is not active.

        Raises:
            IntrospectionFailedError: anything else.
        """
        try:
            async with asyncio.timeout(FETCH_S):
                # An address that was found is kept while it works: the document is not asked for with each token.
                self._url = self._url or await discovered(self._client, self._issuer, "introspection_endpoint")
                said = parse_object(await self._post(self._url, token))
        except Exception as error:
            # Whatever it is, nobody is refused for it; and the issuer may have moved.
            self._url = self._told
            raise IntrospectionFailedError(f"{type(error).__name__}: {error}") from error
        if said.get("active") is not True and said.get("active") is not False:
            raise IntrospectionFailedError("active is neither true nor false")
        return said if said["active"] else None

    @step("auth.introspect")
    async def _post(self, url: str, token: str) -> bytes:
        form = {"token": token, "token_type_hint": "access_token"}
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream("POST", url, data=form, headers=headers, auth=self._auth) as answer:
            if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                raise IntrospectionFailedError(
                    f"status {answer.status_code}: the issuer refuses us; check client_id and client_secret "
                    "of `opaque` in PAIDONCE_ISSUERS"
                )
            if answer.status_code != httpx.codes.OK:
                raise IntrospectionFailedError(f"status {answer.status_code}")
            return await read_capped(answer)
