"""How does the console remember a browser without remembering anything? In cookies that only it can read or make.

JSON, encrypted and authenticated (JWE, `dir` with A256GCM). Each says what it is for, so that none passes for another.
"""

import secrets
from hashlib import sha256
from typing import Any

import orjson
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from paidonce.app.errors import ConfigurationError
from paidonce.app.settings import Settings

#: Bytes of a cookie, its name and attributes included, that every browser keeps (RFC 6265, section 6.1); less these.
COOKIE_BYTES_MAX = 4_096 - 200
SECRET_CHARS_MIN = 32
_HEADER = {"alg": "dir", "enc": "A256GCM"}


class Seal:
    """Makes and opens the cookies; one a process."""

    def __init__(self, settings: Settings) -> None:
        """Take the secret of the settings, or draw one.

        Raises:
            ConfigurationError: it could be guessed.
        """
        secret = settings.console_secret.get_secret_value()
        if secret and len(secret) < SECRET_CHARS_MIN:
            raise ConfigurationError(
                f"PAIDONCE_CONSOLE_SECRET has fewer than {SECRET_CHARS_MIN} characters: take `openssl rand -hex 32`"
            )
        self._key = OctKey.import_key(sha256((secret or secrets.token_hex(32)).encode()).digest())

    def close(self, use: str, content: dict[str, Any]) -> str:
        """Return `content` as the text of a cookie that is for `use`."""
        sealed = jwe.encrypt_compact(_HEADER, orjson.dumps({"use": use, **content}), self._key)
        return sealed if isinstance(sealed, str) else sealed.decode()

    def open(self, use: str, text: str | None) -> dict[str, Any] | None:
        """Return what the cookie holds; None: there is none, it is not ours, or is for another use."""
        if not text or len(text) > COOKIE_BYTES_MAX:
            return None
        try:
            plain = jwe.decrypt_compact(text, self._key, algorithms=["dir", "A256GCM"]).plaintext
        except (JoseError, ValueError, TypeError, KeyError):
            return None
        content: dict[str, Any] = orjson.loads(plain or b"{}")
        return content if content.get("use") == use else None
