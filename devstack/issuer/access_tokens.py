"""Which access tokens need the database? Opaque ones, whose claims are here, and those revoked before their end."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from paidonce.devstack.issuer import families
from paidonce.devstack.issuer.secret_texts import OPAQUE, digest, draw
from paidonce.devstack.issuer.tables import opaque_tokens, revoked_tokens


def keep(tx: Connection, claims: Mapping[str, Any], now: datetime) -> str:
    """Return an opaque token for these claims; forget those that are over."""
    tx.execute(delete(opaque_tokens).where(opaque_tokens.c.expires_at < now))
    token = draw(OPAQUE)
    tx.execute(insert(opaque_tokens).values(digest=digest(token), claims=dict(claims), expires_at=_end(claims)))
    return token


def claims_of(tx: Connection, token: str) -> dict[str, Any] | None:
    """Return the claims of an opaque token; None: it is none of ours."""
    claims: dict[str, Any] | None = tx.scalar(
        select(opaque_tokens.c.claims).where(opaque_tokens.c.digest == digest(token))
    )
    return claims


def revoke(tx: Connection, claims: Mapping[str, Any], now: datetime) -> None:
    """Revoke the access token with these claims; forget the revocations of those that are over."""
    tx.execute(delete(revoked_tokens).where(revoked_tokens.c.expires_at < now))
    tx.execute(insert(revoked_tokens).values(jti=claims["jti"], expires_at=_end(claims)).on_conflict_do_nothing())


def active(tx: Connection, claims: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether a token with these claims is good: not over, not revoked, and its login alive."""
    if _end(claims) <= now:
        return False
    if tx.execute(select(revoked_tokens.c.jti).where(revoked_tokens.c.jti == claims["jti"])).first() is not None:
        return False
    return "sid" not in claims or families.alive(tx, UUID(claims["sid"]), now)


def _end(claims: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(claims["exp"], UTC)
