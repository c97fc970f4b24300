"""What does the development issuer sign with, now? One of its RSA keys; the next is announced before it signs."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from paidonce.app.clock import Clock, SystemClock
from paidonce.devstack.issuer import key_file
from paidonce.devstack.issuer.key_file import KeptKey

#: The media type of an access token (RFC 9068, section 2.1).
TYPE = "at+jwt"


class SigningKey:
    """A private key, and what the world may see of it."""

    def __init__(self, key: RSAKey) -> None:
        self._key = key
        self.kid = key.thumbprint()

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return an access token with these claims."""
        return jwt.encode({"alg": "RS256", "typ": TYPE, "kid": self.kid}, dict(claims), self._key)

    def claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that this key signed; raises whatever the library has against it."""
        decoded = jwt.decode(token, self._key, algorithms=["RS256"])
        if decoded.header.get("kid") != self.kid or decoded.header.get("typ") != TYPE:
            raise ValueError("not an access token of this key")
        return decoded.claims

    def public(self) -> dict[str, Any]:
        """Return the public half as a JSON Web Key."""
        return {**self._key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": "RS256"}


class SigningKeys:
    """The keys in a folder. A rotation by another process is seen at the next look: the file is new then."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._folder = folder
        self._clock = clock or SystemClock()
        self._version = -1
        self._kept: Sequence[tuple[KeptKey, SigningKey]] = ()
        self._one = threading.Lock()

    def current(self) -> SigningKey:
        """Return the key that signs now: of those that may, the youngest."""
        now = self._clock.now()
        # In the file the youngest is last, and `max` takes the first of equals.
        return max(((kept, key) for kept, key in reversed(self._read()) if kept.signs_from <= now), key=_age)[1]

    def published(self) -> list[SigningKey]:
        """Return the keys of the key set: the announced, the one that signs, and those whose tokens still live."""
        return [key for kept, key in self._read() if kept.is_published(self._clock.now())]

    def claims(self, token: str, iss: str) -> dict[str, Any] | None:
        """Return the claims of an access token of the issuer `iss`, over or not; None: we did not sign it."""
        for key in self.published():
            with suppress(Exception):  # however the library fails on it, it is no token of this key
                claims = key.claims(token)
                return claims if claims.get("iss") == iss else None
        return None

    def _read(self) -> Sequence[tuple[KeptKey, SigningKey]]:
        with self._one:
            version = key_file.version(self._folder)
            if version != self._version:
                self._kept = [(kept, SigningKey(RSAKey.import_key(kept.pem))) for kept in key_file.read(self._folder)]
                self._version = version
            return self._kept


def kept_in(folder: Path, clock: Clock | None = None) -> SigningKeys:
    """Return the keys that are kept in `folder`; make both when they are missing, for this user's eyes only."""
    key_file.make(folder)
    return SigningKeys(folder, clock)


def _age(found: tuple[KeptKey, SigningKey]) -> datetime:
    return found[0].signs_from
