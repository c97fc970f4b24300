"""What does the development issuer sign with? One RSA key, made at the first start and kept in a folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

KEY_FILE = "signing-key.pem"
KEY_BITS = 2_048
#: The media type of an access token (RFC 9068, section 2.1).
TYPE = "at+jwt"


class SigningKey:
    """The private key, and what the world may see of it."""

    def __init__(self, key: RSAKey) -> None:
        self._key = key
        self.kid = key.thumbprint()

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return an access token with these claims."""
        return jwt.encode({"alg": "RS256", "typ": TYPE, "kid": self.kid}, dict(claims), self._key)

    def public(self) -> dict[str, Any]:
        """Return the public half as a JSON Web Key."""
        return {**self._key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": "RS256"}


def kept_in(folder: Path) -> SigningKey:
    """Return the key that is kept in `folder`; make both when they are missing, for this user's eyes only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / KEY_FILE
    if not path.exists():
        _keep(RSAKey.generate_key(KEY_BITS).as_pem(private=True), path)
    return SigningKey(RSAKey.import_key(path.read_bytes()))


def _keep(pem: bytes, path: Path) -> None:
    # Whole or not at all: a start that is killed here must not leave half a key.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
