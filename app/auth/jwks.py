"""Which keys does the issuer sign with? One fetch of its JSON Web Key Set, and which keys of it we use.

Over TLS only, loopback excepted: whoever can change the answer can write tokens. Capped in size
and time, without redirects (docs/design.md, "Who may call").
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx
import structlog
from joserfc.jwk import RSAKey
from joserfc.util import base64_to_int

from paidonce.app.auth.strict_json import parse_object
from paidonce.app.auth.token import ALGORITHM, is_key_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.steps import step

#: Bytes of a key set: 40 RSA keys with certificates; an issuer has two or three.
BYTES_MAX = 65_536
KEYS_MAX = 100
#: Seconds for the whole fetch, connecting included: requests wait for it.
FETCH_S = 3.0
KEY_BITS_MIN = 2_048
#: A check takes time with the cube of the size: 8192 bits take about 0.4 ms.
KEY_BITS_MAX = 8_192
EXPONENT_MIN = 65_537
_log = structlog.get_logger(__name__)


class KeySetRefusedError(Exception):
    """The issuer's answer is not a key set that we use: the message says why."""


def checked_url(url: str) -> str:
    """Return `url` if keys may be fetched from it.

    Raises:
        ConfigurationError: it is neither https nor on loopback.
    """
    parsed = httpx.URL(url)
    if parsed.scheme == "https" or (parsed.scheme == "http" and _is_loopback(parsed.host)):
        return url
    raise ConfigurationError(f"PAIDONCE_JWKS_URL is {url}: keys are fetched over https only (http on loopback)")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@step("auth.fetch_keys")
async def fetch(client: httpx.AsyncClient, url: str) -> Mapping[str, RSAKey]:
    """Return the issuer's usable keys by their id; never an empty set.

    Raises:
        httpx.HTTPError, TimeoutError: no answer.
        KeySetRefusedError: an answer that is not a key set, or holds no usable key.
    """
    async with asyncio.timeout(FETCH_S):
        # Compressed, a small answer could become a huge one.
        async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code != httpx.codes.OK:
                raise KeySetRefusedError(f"status {answer.status_code}")
            body = b""
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > BYTES_MAX:
                    raise KeySetRefusedError(f"more than {BYTES_MAX} bytes")
    return usable_keys(body)


def usable_keys(body: bytes) -> Mapping[str, RSAKey]:
    """Return the RSA keys of a key set that may check signatures, by `kid`; raises KeySetRefusedError."""
    try:
        listed = parse_object(body).get("keys")
    except (ValueError, RecursionError) as error:
        raise KeySetRefusedError(str(error)) from error
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise KeySetRefusedError("no list of keys, or too many")
    candidates = [jwk for jwk in listed if isinstance(jwk, dict) and _is_for_signatures(jwk)]
    count = Counter(jwk["kid"] for jwk in candidates)
    keys = {}
    for jwk in candidates:
        key = _imported(jwk)
        # Of two keys under one id nobody can say which was meant: neither is used.
        if key is None or count[jwk["kid"]] > 1:
            _log.warning("key of the issuer ignored", kid=jwk["kid"], duplicate=count[jwk["kid"]] > 1)
        else:
            keys[jwk["kid"]] = key
    if not keys:
        raise KeySetRefusedError("no usable key")
    return keys


def _is_for_signatures(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("kty") == "RSA"
        and is_key_id(jwk.get("kid"))
        and jwk.get("use", "sig") == "sig"
        and jwk.get("alg", ALGORITHM) == ALGORITHM
        and isinstance(operations, list)
        and "verify" in operations
    )


def _imported(jwk: Mapping[str, Any]) -> RSAKey | None:
    if "d" in jwk:
        return None  # a private key that was published can be anyone's
    try:
        modulus, exponent = base64_to_int(jwk["n"]), base64_to_int(jwk["e"])
        if not KEY_BITS_MIN <= modulus.bit_length() <= KEY_BITS_MAX or exponent < EXPONENT_MIN:
            return None
        return RSAKey.import_key({"kty": "RSA", "n": jwk["n"], "e": jwk["e"]})
    except Exception:  # noqa: BLE001  a key that the library cannot read is no key
        return None
