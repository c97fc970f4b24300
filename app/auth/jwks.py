"""Which keys does the issuer sign with? One fetch of its JSON Web Key Set, for how long, and which keys of it we use.

Over TLS only, loopback excepted: whoever can change the answer can write tokens. Capped in size
and time, without redirects (docs/design.md, "Who may call").
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import structlog
from joserfc.jwk import RSAKey
from joserfc.util import base64_to_int

from paidonce.app.auth.strict_json import parse_object
from paidonce.app.auth.token import ALGORITHM, is_key_id
from paidonce.app.errors import ConfigurationError
from paidonce.app.issuers import TrustedIssuer
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
#: 30 years in seconds have as many; a longer number is a mistake.
AGE_DIGITS_MAX = 10
_log = structlog.get_logger(__name__)


class KeySetRefusedError(Exception):
    """The issuer's answer is not a key set that we use: the message says why."""


def checked_url(url: str) -> str:
    """Return `url` if an issuer may be asked there.

    Raises:
        ConfigurationError: it is neither https nor on loopback.
    """
    parsed = httpx.URL(url)
    if parsed.scheme == "https" or (parsed.scheme == "http" and _is_loopback(parsed.host)):
        return url
    raise ConfigurationError(
        f"{url}: issuers are asked over https only, or http on loopback (PAIDONCE_JWKS_URL, PAIDONCE_ISSUER, "
        "PAIDONCE_ISSUERS)"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Fetched:
    """An issuer's answer."""

    body: bytes
    #: by `kid`; none where the issuer has no key that we use
    keys: Mapping[str, RSAKey]
    #: seconds that the issuer lets us keep it (Cache-Control); None: it does not say
    max_age_s: int | None


async def fetch(client: httpx.AsyncClient, issuer: TrustedIssuer) -> Fetched:
    """Return the issuer's usable keys.

    Raises:
        httpx.HTTPError, TimeoutError: no answer.
        KeySetRefusedError: an answer that is not a key set.
    """
    async with asyncio.timeout(FETCH_S):
        url = issuer.jwks_url or await discovered(client, issuer.issuer, "jwks_uri")
        body, headers = await _get(client, url)
    return Fetched(body, usable_keys(body), _max_age_s(headers.get("cache-control", "")))


async def discovered(client: httpx.AsyncClient, issuer: str, member: str) -> str:
    """Return the address that the issuer gives for `member` (OpenID Connect Discovery 1.0, section 4.3).

    Raises:
        httpx.HTTPError, TimeoutError: no answer.
        KeySetRefusedError: its document is another issuer's, or has no address that we use.
    """
    body, _ = await _get(client, issuer.rstrip("/") + "/.well-known/openid-configuration")
    document = _object(body)
    if document.get("issuer") != issuer:
        raise KeySetRefusedError("the discovery document is another issuer's")
    try:
        return checked_url(str(document.get(member)))
    except (ConfigurationError, httpx.InvalidURL, ValueError) as error:
        raise KeySetRefusedError(f"{member}: {error}") from error


@step("auth.fetch_keys")
async def _get(client: httpx.AsyncClient, url: str) -> tuple[bytes, httpx.Headers]:
    # Compressed, a small answer could become a huge one.
    async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
        if answer.status_code != httpx.codes.OK:
            raise KeySetRefusedError(f"status {answer.status_code}")
        return await read_capped(answer), answer.headers


async def read_capped(answer: httpx.Response) -> bytes:
    """Return the body of an issuer's answer that is being streamed; raises KeySetRefusedError above BYTES_MAX."""
    body = b""
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > BYTES_MAX:
            raise KeySetRefusedError(f"more than {BYTES_MAX} bytes")
    return body


def _max_age_s(cache_control: str) -> int | None:
    """Return `max-age`, 0 for an answer that may not be kept, None when nothing is said (RFC 9111, section 5.2.2)."""
    directives = [part.strip().lower() for part in cache_control.split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0
    ages = [part.removeprefix("max-age=") for part in directives if part.startswith("max-age=")]
    return int(ages[0]) if ages and ages[0].isascii() and ages[0].isdigit() and len(ages[0]) < AGE_DIGITS_MAX else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except (ValueError, RecursionError) as error:
        raise KeySetRefusedError(str(error)) from error


def usable_keys(body: bytes) -> Mapping[str, RSAKey]:
    """Return the RSA keys of a key set that may check signatures, by `kid`; raises KeySetRefusedError."""
    listed = _object(body).get("keys")
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise KeySetRefusedError("no list of keys, or too many")
    found = [jwk for jwk in listed if isinstance(jwk, dict)]
    candidates = [jwk for jwk in found if _is_for_signatures(jwk)]
    for jwk in found:
        if jwk not in candidates:  # no warning: most issuers list keys for other uses
            _log.info("key of the issuer is not for us", kid=jwk["kid"] if is_key_id(jwk.get("kid")) else None)
    count = Counter(jwk["kid"] for jwk in candidates)
    keys = {}
    for jwk in candidates:
        key = _imported(jwk)
        # Of two keys under one id nobody can say which was meant: neither is used.
        if key is None or count[jwk["kid"]] > 1:
            _log.warning("key of the issuer ignored", kid=jwk["kid"], duplicate=count[jwk["kid"]] > 1)
        else:
            keys[jwk["kid"]] = key
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
