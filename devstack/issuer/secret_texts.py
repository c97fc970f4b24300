"""What do a code and a token look like, and what is kept of one? Random text with a prefix, and its digest."""

import secrets
from hashlib import sha256

#: Bytes of randomness: nobody guesses 256 bits, so the digest needs neither salt nor stretching.
RANDOM_BYTES = 32
#: A prefix says what was found in a log or a repository, and to the API, whose opaque token it is.
CODE, REFRESH, OPAQUE = "pdc_", "pdr_", "pda_"


def draw(prefix: str) -> str:
    """Return a new secret text."""
    return prefix + secrets.token_urlsafe(RANDOM_BYTES)


def digest(text: str) -> bytes:
    """Return what is kept of it."""
    return sha256(text.encode("utf-8", "replace")).digest()
