"""What does a well-signed token say, and is it meant for us, now? From claims to the principal.

The rules are those of RFC 9068, section 4, with no claim read leniently: a number is an integer,
a list is a list (docs/design.md, "Who may call").
"""

from collections.abc import Container, Mapping
from datetime import UTC, datetime
from typing import Any

from paidonce.app.auth.principal import Principal
from paidonce.app.errors import InvalidTokenError
from paidonce.app.issuers import TrustedIssuer

#: Payload `typ` of an access token, where an issuer writes one (Keycloak: Bearer; else ID, Refresh, Offline …).
ACCESS_TYPES = frozenset({"bearer", "at+jwt"})
#: `at_hash`, `c_hash`, `s_hash` stand in ID tokens only (OpenID Connect Core), `events` in logout tokens; a token
#: with `cnf` is bound to a key whose proof we do not check, so it is no bearer token (RFC 7800).
REFUSED_CLAIMS = frozenset({"at_hash", "c_hash", "s_hash", "events", "cnf"})
#: The end of the year 9999, the last second that a datetime holds.
TIME_MAX = 253_402_300_799
#: 2^53, up to which every reader of JSON counts alike (RFC 8785); eleven digits are more than any provider takes.
AMOUNT_MAX = 2**53
TENANT_CHARS_MAX = 64
SUB_CHARS_MAX = 255
_MISSING = object()


def principal_of(payload: Mapping[str, Any], issuer: TrustedIssuer, now: float, *, skew_s: int) -> Principal:
    """Return whom the claims name.

    `now` is in seconds since 1970, `skew_s` are those by which the issuer's clock may differ from ours.

    Raises:
        InvalidTokenError: names the rule that is broken.
    """
    _check_purpose(payload, issuer)
    expires = _check_times(payload, skew_s, now)
    client_id = payload.get("client_id", payload.get("azp"))
    return Principal(
        sub=short_text(_at(payload, "sub", None), "sub", SUB_CHARS_MAX),
        tenant=tenant_text(_at(payload, issuer.tenant_claim, None), issuer.tenant_claim, issuer.tenants),
        scopes=_scopes(payload.get("scope", "")),
        roles=_roles(_at(payload, issuer.roles_claim, [])),
        expires_at=datetime.fromtimestamp(expires, UTC),
        client_id=client_id if isinstance(client_id, str) and client_id.isprintable() else None,
        issuer=issuer.issuer,
        refund_limit=_amount(payload, issuer.refund_limit_claim),
    )


def _check_purpose(payload: Mapping[str, Any], issuer: TrustedIssuer) -> None:
    if payload.get("iss") != issuer.issuer:
        raise InvalidTokenError("iss: another issuer")
    audience = payload.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(one, str) for one in audiences) or set(issuer.audiences).isdisjoint(audiences):
        raise InvalidTokenError("aud: not for us")
    type_ = payload.get("typ", "Bearer")
    if not isinstance(type_, str) or type_.lower() not in ACCESS_TYPES:
        raise InvalidTokenError("typ: not an access token")
    if not REFUSED_CLAIMS.isdisjoint(payload):
        raise InvalidTokenError("a claim of another kind of token")


def _check_times(payload: Mapping[str, Any], skew_s: int, now: float) -> int:
    expires = _seconds(payload, "exp")
    if now >= expires + skew_s:
        raise InvalidTokenError("exp: expired")
    for name in ("nbf", "iat"):
        if name in payload and _seconds(payload, name) > now + skew_s:
            raise InvalidTokenError(f"{name}: in the future")
    return expires


def _seconds(payload: Mapping[str, Any], name: str) -> int:
    value = payload.get(name)
    # bool is an int in Python, and is none in JSON
    if type(value) is not int or not 0 <= value <= TIME_MAX:
        raise InvalidTokenError(f"{name}: not an integer number of seconds")
    return value


def _at(payload: Mapping[str, Any], claim: str, missing: object) -> object:
    """Return what stands at `claim`, whose dots lead into objects; a claim named so itself comes first."""
    if claim in payload:
        return payload[claim]
    found: object = payload
    for name in claim.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return missing
        found = found[name]
    return found


def short_text(value: object, name: str, chars_max: int) -> str:
    """Return the value; raises InvalidTokenError unless it is printable text of at most that length."""
    # isprintable also refuses NUL and lone surrogates, which the database would.
    if not isinstance(value, str) or not 0 < len(value) <= chars_max or not value.isprintable() or value.isspace():
        raise InvalidTokenError(f"{name}: not a short text")
    return value


def tenant_text(value: object, name: str, tenants: Container[str] | None) -> str:
    """Return the tenant; raises InvalidTokenError unless it can be one, and is among `tenants` (None: any may be)."""
    tenant = short_text(value, name, TENANT_CHARS_MAX)
    if not tenant.isascii() or " " in tenant:
        raise InvalidTokenError(f"{name}: not visible ASCII")
    if tenants is not None and tenant not in tenants:
        raise InvalidTokenError(f"{name}: not one that this issuer may speak for")
    return tenant


def _amount(payload: Mapping[str, Any], claim: str) -> int | None:
    """Return the claim's minor units; None only where there is no such claim."""
    value = _at(payload, claim, _MISSING)
    if value is _MISSING:
        return None
    if type(value) is not int or not 0 <= value <= AMOUNT_MAX:
        raise InvalidTokenError(f"{claim}: not an integer number of minor units")
    return value


def _scopes(value: object) -> frozenset[str]:
    if not isinstance(value, str):
        raise InvalidTokenError("scope: not one string")
    return frozenset(value.split(" ")) - {""}


def _roles(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(role, str) for role in value):
        raise InvalidTokenError("roles: not a list of strings")
    return frozenset(value)
