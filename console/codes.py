"""How does a person get here from the issuer? By a code that is worth nothing without our proof (RFC 6749, RFC 7636).

Where to send people, and where to change the code for a token, is what the issuer's discovery says.
"""

import asyncio
import base64
import ssl
from hashlib import sha256
from urllib.parse import urlencode

import httpx
from pydantic import BaseModel, ValidationError

from paidonce.app.auth.jwks import FETCH_S, KeySetRefusedError, discovered, read_capped
from paidonce.app.steps import step
from paidonce.console.place import Place

#: Compressed, a small answer could become a huge one.
_PLAIN = {"Accept-Encoding": "identity", "Accept": "application/json"}


class LoginError(Exception):
    """Nobody was logged in: the message is for the person, and says what to do."""


class _Granted(BaseModel):
    access_token: str
    token_type: str


class Codes:
    """Speaks with the console's issuer; one a process, on its event loop."""

    def __init__(self, issuer: str, client_id: str, client_secret: str, here: Place) -> None:
        """Ask nothing yet; without a `client_secret` the client is a public one."""
        self._issuer, self._client_id, self._client_secret, self._here = issuer, client_id, client_secret, here
        # As the verifier asks for keys: the machine's own trust store, no proxy, no redirects.
        context = ssl.create_default_context()
        self._client = httpx.AsyncClient(verify=context, follow_redirects=False, trust_env=False, timeout=FETCH_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def question(self, state: str, proof: str) -> str:
        """Return where to send a person; `proof` stays here. Raises LoginError."""
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._here.callback,
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(sha256(proof.encode()).digest()).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        url = await self._endpoint("authorization_endpoint")
        return f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}"

    async def change(self, code: str, proof: str, iss: str | None) -> str:
        """Return the access token for a code; `iss` is who says to have sent it (RFC 9207). Raises LoginError."""
        if iss is not None and iss != self._issuer:
            raise LoginError("the answer came from another issuer than the one that was asked")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": proof,
            "redirect_uri": self._here.callback,
            "client_id": self._client_id,
        }
        granted = await self._ask(await self._endpoint("token_endpoint"), form)
        if granted.token_type.lower() != "bearer":
            raise LoginError(f"the issuer gave a token of the type {granted.token_type[:20]!r}, not a bearer token")
        return granted.access_token

    async def _endpoint(self, member: str) -> str:
        try:
            async with asyncio.timeout(FETCH_S):
                return await discovered(self._client, self._issuer, member)
        except (httpx.HTTPError, TimeoutError, KeySetRefusedError) as error:
            raise LoginError(
                f"the issuer {self._issuer} cannot be asked ({type(error).__name__}): try again"
            ) from error

    @step("console.change_code")
    async def _ask(self, url: str, form: dict[str, str]) -> _Granted:
        secret = self._client_secret
        auth = httpx.BasicAuth(self._client_id, secret) if secret else None
        try:
            async with (
                asyncio.timeout(FETCH_S),
                self._client.stream("POST", url, data=form, auth=auth, headers=_PLAIN) as answer,
            ):
                body = await read_capped(answer)
        except (httpx.HTTPError, TimeoutError, KeySetRefusedError) as error:
            raise LoginError("the issuer gave no answer to the code: log in again") from error
        try:
            if answer.status_code != httpx.codes.OK:
                raise LoginError(f"the issuer refused the code (status {answer.status_code}): log in again")
            return _Granted.model_validate_json(body)
        except ValidationError as error:
            raise LoginError("the issuer's answer holds no access token") from error
