"""Is this text a token that we are ready to check? The strict parser in front of the JOSE library.

The library accepts duplicate members, any `typ` and non-canonical base64url, and raises
RecursionError, TypeError or binascii.Error on hostile input; so it only ever sees what passed
here (RFC 7515, RFC 7519, RFC 9068; docs/design.md, "Who may call").
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paidonce.app.auth.strict_json import parse_object
from paidonce.app.errors import InvalidTokenError

ALGORITHM = "RS256"
#: RFC 7515, section 4.1.9: a media type, in any case, with `application/` usually left out.
TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt", "application/jwt"})
#: They change how the token is to be read, or bring a key along. A token with one is refused, not
#: read without it: its author meant something that we do not do.
REFUSED_MEMBERS = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"})
#: RFC 6750, section 2.1.
_BEARER = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
#: Characters of a key id; Keycloak's have 43.
KID_CHARS_MAX = 128


@dataclass(frozen=True, slots=True)
class Token:
    """A well-formed token whose signature nobody has checked yet."""

    kid: str
    raw: bytes
    payload: Mapping[str, Any]


def is_opaque(raw: bytes, *, bytes_max: int) -> bool:
    """Tell whether `raw` may be a token that says nothing by itself: a bearer token, and not of three segments."""
    return raw.count(b".") != 2 and len(raw) <= bytes_max and _BEARER.fullmatch(raw) is not None


def parse(raw: bytes, *, bytes_max: int) -> Token:
    """Return the parts of the token `raw`; raises InvalidTokenError naming the rule that it breaks."""
    if len(raw) > bytes_max:
        raise InvalidTokenError("too long")
    segments = raw.split(b".")
    if len(segments) != 3:
        raise InvalidTokenError("not three segments")
    header = _object(segments[0], "header")
    payload = _object(segments[1], "payload")
    _decode(segments[2], "signature")
    return Token(_checked_kid(header), raw, payload)


def _object(segment: bytes, name: str) -> dict[str, Any]:
    try:
        return parse_object(_decode(segment, name))
    except (ValueError, RecursionError) as error:
        raise InvalidTokenError(f"{name}: {error}") from error


def _decode(segment: bytes, name: str) -> bytes:
    try:
        decoded = urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except binascii.Error as error:
        raise InvalidTokenError(f"{name}: not base64url") from error
    # The decoder skips foreign characters and spare bits: one token would have many spellings.
    if not segment or urlsafe_b64encode(decoded).rstrip(b"=") != segment:
        raise InvalidTokenError(f"{name}: not canonical base64url")
    return decoded


def _checked_kid(header: Mapping[str, Any]) -> str:
    if header.get("alg") != ALGORITHM:
        raise InvalidTokenError("header: alg is not RS256")
    type_ = header.get("typ")
    if not isinstance(type_, str) or type_.lower() not in TYPES:
        raise InvalidTokenError("header: typ is not that of an access token")
    if not REFUSED_MEMBERS.isdisjoint(header):
        raise InvalidTokenError("header: a member that we do not allow")
    kid = header.get("kid")
    if not is_key_id(kid):
        raise InvalidTokenError("header: kid is not a short string")
    return str(kid)


def is_key_id(value: object) -> bool:
    """Tell whether `value` is a key id that we accept: 1 to 128 printable ASCII characters."""
    return isinstance(value, str) and 0 < len(value) <= KID_CHARS_MAX and value.isascii() and value.isprintable()
