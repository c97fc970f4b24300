"""Whose tokens do we accept, and who vouches for them? For each trusted issuer its key set, or it is asked."""

import asyncio
import ssl
from functools import cache

import httpx

from paidonce.app.auth.introspection import Introspection
from paidonce.app.auth.jwks import FETCH_S, checked_url
from paidonce.app.auth.keyset import KeySet
from paidonce.app.clock import Clock, SystemClock
from paidonce.app.errors import InvalidTokenError
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings import Settings


@cache
def _roots() -> ssl.SSLContext:
    """The machine's own trust store, to which an operator can add an authority (SSL_CERT_FILE); 30 ms to read."""
    return ssl.create_default_context()


class Trust:
    """The trusted issuers; one a process, on its event loop."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Fetch nothing yet.

        Raises:
            ConfigurationError: an issuer's keys could not be fetched safely.
        """
        # No proxy from the environment and no redirects: the keys come from this address or not at all.
        self._client = httpx.AsyncClient(verify=_roots(), follow_redirects=False, trust_env=False, timeout=FETCH_S)
        clock = clock or SystemClock()
        self._issuers: dict[str, tuple[TrustedIssuer, KeySet]] = {}
        #: those that are asked about opaque tokens, by what these begin with
        self._asked: list[tuple[bytes, Introspection]] = []
        for issuer in settings.trusted_issuers():
            checked_url(issuer.jwks_url or issuer.issuer)
            self._issuers[issuer.issuer] = issuer, KeySet(issuer, settings, self._client, clock)
            if issuer.opaque is not None:
                self._asked.append(
                    (issuer.opaque.prefix.encode(), Introspection(issuer, settings, self._client, clock))
                )

    async def open(self) -> None:
        """Get every issuer's keys; one that is away is only logged."""
        await asyncio.gather(*(keys.open() for _, keys in self._issuers.values()))

    async def close(self) -> None:
        """End what runs, and close the connections."""
        await asyncio.gather(*(keys.close() for _, keys in self._issuers.values()))
        await asyncio.gather(*(asked.close() for _, asked in self._asked))
        await self._client.aclose()

    def issuer(self, iss: object) -> tuple[TrustedIssuer, KeySet]:
        """Return the issuer that a token names, and its keys; raises InvalidTokenError for any other."""
        found = self._issuers.get(iss) if isinstance(iss, str) else None
        if found is None:
            raise InvalidTokenError("iss: another issuer")
        return found

    def introspection(self, opaque: bytes) -> Introspection:
        """Return who is asked about an opaque token; raises InvalidTokenError when nobody is."""
        for prefix, asked in self._asked:
            if opaque.startswith(prefix):
                return asked
        raise InvalidTokenError("not three segments, and of no issuer that is asked about opaque tokens")

    def usable(self) -> bool:
        """Tell whether any issuer's tokens can be checked; one that is away must not stop the others'."""
        return any(keys.usable() for _, keys in self._issuers.values())

    def key_sets(self) -> dict[str, KeySet]:
        """Return issuer -> its keys."""
        return {name: keys for name, (_, keys) in self._issuers.items()}

    @property
    def generation(self) -> int:
        """Grows with every change of any key set."""
        return sum(keys.generation for _, keys in self._issuers.values())
