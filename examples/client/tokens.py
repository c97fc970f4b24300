"""Which token goes with a request? One for many, until the API says that it is no longer good."""

import httpx


class TokenRefusedError(Exception):
    """The issuer gives no token: the message says what it answered. Look at client id and secret."""


class Tokens:
    """Tokens of the client credentials grant (RFC 6749, section 4.4)."""

    def __init__(self, http: httpx.Client, url: str, client_id: str, client_secret: str, *, token: str = "") -> None:
        self._http = http
        self._url = url
        self._credentials = (client_id, client_secret)
        self._token = token

    def current(self) -> str:
        """Return the token that we have, or a new one.

        Raises:
            TokenRefusedError: the issuer gives none.
            httpx.HTTPError: it does not answer, or not with a token.
        """
        if not self._token:
            answer = self._http.post(self._url, data={"grant_type": "client_credentials"}, auth=self._credentials)
            if answer.is_client_error:
                raise TokenRefusedError(f"{answer.status_code}: {answer.text[:500]}")
            answer.raise_for_status()
            self._token = str(answer.json()["access_token"])
        return self._token

    def forget(self, refused: str) -> None:
        """Use `refused` no longer; a token that came since stays."""
        if self._token == refused:
            self._token = ""
