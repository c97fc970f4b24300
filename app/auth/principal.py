"""Who is calling? What is left of a token after it was verified; nothing else of it travels on."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller, as the issuer vouches for it (docs/design.md, "Who may call")."""

    sub: str
    #: whose payments, keys and customers these are; part of every key
    tenant: str
    scopes: frozenset[str]
    roles: frozenset[str]
    #: aware, in UTC; the token's `exp`, None where a gateway vouches and we do not see the token
    expires_at: datetime | None
    #: the OAuth client that the token was issued to, where the issuer says so
    client_id: str | None = None
    #: whose word that is: a `sub` is one caller only within its issuer; empty where a gateway vouches and does not say
    issuer: str = ""
    #: minor units that the refunds of one payment may add up to; None: the issuer says nothing of it
    refund_limit: int | None = None
