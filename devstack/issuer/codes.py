"""What does a login give the client to fetch its tokens with? A code, good once, for a minute, with PKCE.

Whoever presents a code uses it up, even with a wrong verifier: it had left the client's hands. One that
comes again ends the login that it began (RFC 6749, section 4.1.2).
"""

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from paidonce.devstack.issuer import families
from paidonce.devstack.issuer.families import Family
from paidonce.devstack.issuer.secret_texts import CODE, digest, draw
from paidonce.devstack.issuer.tables import codes

#: A code is exchanged by the next request; RFC 6749 allows 10 minutes.
LIFE = timedelta(seconds=60)
#: Remembered beyond that, so that a late reuse is seen.
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a client brings to the token endpoint (RFC 6749, section 4.1.3; RFC 7636, section 4.5)."""

    code: str
    client_id: str
    redirect_uri: str
    verifier: str


def issue(tx: Connection, family: Family, *, redirect_uri: str, challenge: str, now: datetime) -> str:
    """Return a code whose exchange will begin `family`; forget those that are long over."""
    tx.execute(delete(codes).where(codes.c.expires_at < now - KEPT))
    code = draw(CODE)
    tx.execute(
        insert(codes).values(
            digest=digest(code),
            family_id=family.id,
            client_id=family.client_id,
            redirect_uri=redirect_uri,
            challenge=challenge,
            sub=family.sub,
            tenant=family.tenant,
            scopes=list(family.scopes),
            roles=list(family.roles),
            expires_at=now + LIFE,
        )
    )
    return code


def use(tx: Connection, exchange: Exchange, now: datetime) -> Family | None:
    """Use a code up; return the family that may begin. None: commit all the same, the code is used now."""
    row = tx.execute(
        update(codes)
        .where(codes.c.digest == digest(exchange.code), codes.c.used_at.is_(None))
        .values(used_at=now)
        .returning(*codes.c)
    ).one_or_none()
    if row is None:
        _punish_reuse(tx, exchange.code, now)
        return None
    fits = (
        row.expires_at > now
        and row.client_id == exchange.client_id
        and row.redirect_uri == exchange.redirect_uri
        and hmac.compare_digest(row.challenge, s256(exchange.verifier))
    )
    return _family(row) if fits else None


def s256(verifier: str) -> str:
    """Return the challenge that belongs to a verifier (RFC 7636, section 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode("ascii", "replace")).digest()).rstrip(b"=").decode()


def _punish_reuse(tx: Connection, code: str, now: datetime) -> None:
    row = tx.execute(select(codes).where(codes.c.digest == digest(code))).one_or_none()
    if row is not None:
        families.revoke(tx, _family(row), now, event="code_reused")


def _family(row: Row[Any]) -> Family:
    return Family(row.family_id, row.client_id, row.sub, row.tenant, tuple(row.scopes), tuple(row.roles))
