"""Is this refresh token the newest of its login? Each is good once; one that comes again ends the whole family.

Who comes second with a token, thief or owner, cannot be told from the first (RFC 9700, section 4.14.2), so
nobody goes on. Of two simultaneous uses one is the second: the row's lock decides, and the family ends.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, update

from paidonce.devstack.issuer import events
from paidonce.devstack.issuer.secret_texts import REFRESH, digest, draw
from paidonce.devstack.issuer.tables import families, refresh_tokens

#: A refresh token that nobody uses: a weekend away is a new login, a night is not.
IDLE = timedelta(hours=48)
#: A family, however busy: a stolen device is of use no longer than that.
LIFE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Family:
    """A login: whose it is, through which client, and what its tokens may say."""

    id: UUID
    client_id: str
    sub: str
    tenant: str
    scopes: tuple[str, ...]
    roles: tuple[str, ...]


def begin(tx: Connection, family: Family, now: datetime) -> str:
    """Begin a family and return its first refresh token; forget the families that are over."""
    tx.execute(delete(families).where(families.c.expires_at < now))
    tx.execute(
        insert(families).values(
            id=family.id,
            client_id=family.client_id,
            sub=family.sub,
            tenant=family.tenant,
            scopes=list(family.scopes),
            roles=list(family.roles),
            begun_at=now,
            expires_at=now + LIFE,
        )
    )
    return _issue(tx, family.id, now)


def rotate(tx: Connection, token: str, client_id: str, now: datetime) -> tuple[Family, str] | None:
    """Use a refresh token up; return its family and the next token.

    None: it is unknown, over, revoked, another client's, or it was used before; then the family is revoked,
    which the caller must commit.
    """
    family = _family_of(tx, token)
    if family is None or family.client_id != client_id:
        return None
    # The update waits for whoever uses the same token now, and then finds it used.
    used = tx.execute(
        update(refresh_tokens)
        .where(refresh_tokens.c.digest == digest(token), refresh_tokens.c.used_at.is_(None))
        .values(used_at=now)
        .returning(refresh_tokens.c.expires_at)
    ).scalar_one_or_none()
    if used is None:
        revoke(tx, family, now, event="refresh_token_reused")
        return None
    if used <= now or not alive(tx, family.id, now):
        return None
    return family, _issue(tx, family.id, now)


def end(tx: Connection, token: str, client_id: str, now: datetime) -> bool:
    """Revoke the family of a refresh token; tells whether it is one of this client."""
    family = _family_of(tx, token)
    if family is None or family.client_id != client_id:
        return False
    revoke(tx, family, now)
    return True


def revoke(tx: Connection, family: Family, now: datetime, *, event: str | None = None) -> None:
    """End a family, and write `event` if it lived until now."""
    ended = tx.execute(
        update(families)
        .where(families.c.id == family.id, families.c.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(families.c.id)
    ).first()
    if ended and event:
        events.write(
            tx, event, now, family=str(family.id), client_id=family.client_id, sub=family.sub, tenant=family.tenant
        )


def alive(tx: Connection, family_id: UUID, now: datetime) -> bool:
    """Tell whether a family is neither over nor revoked."""
    lives = select(families.c.id).where(
        families.c.id == family_id, families.c.revoked_at.is_(None), families.c.expires_at > now
    )
    return tx.execute(lives).first() is not None


def usable(tx: Connection, token: str, client_id: str, now: datetime) -> tuple[Family, datetime] | None:
    """Return the family of a refresh token that this client could use now, and the token's end; it is not used up."""
    family = _family_of(tx, token)
    if family is None or family.client_id != client_id or not alive(tx, family.id, now):
        return None
    newest = select(refresh_tokens.c.expires_at).where(
        refresh_tokens.c.digest == digest(token), refresh_tokens.c.used_at.is_(None), refresh_tokens.c.expires_at > now
    )
    expires_at = tx.execute(newest).scalar_one_or_none()
    return None if expires_at is None else (family, expires_at)


def _family_of(tx: Connection, token: str) -> Family | None:
    columns = (families.c[name] for name in ("id", "client_id", "sub", "tenant", "scopes", "roles"))
    row = tx.execute(
        select(*columns).join(refresh_tokens).where(refresh_tokens.c.digest == digest(token))
    ).one_or_none()
    if row is None:
        return None
    return Family(row.id, row.client_id, row.sub, row.tenant, tuple(row.scopes), tuple(row.roles))


def _issue(tx: Connection, family_id: UUID, now: datetime) -> str:
    token = draw(REFRESH)
    tx.execute(insert(refresh_tokens).values(digest=digest(token), family_id=family_id, expires_at=now + IDLE))
    return token
