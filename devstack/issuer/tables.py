"""What does the development issuer remember? Tables in a schema of its own, beside the product's.

No migrations: a change of these tables takes the schema's next name, and people log in once more. No secret
is in them: of tokens and codes only SHA-256 digests (they are random, so nothing is gained by stretching), of
passwords argon2 hashes.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.schema import CreateSchema

SCHEMA = "issuer_1"
#: Names the lock under which the tables are made: two processes may start at once.
_LOCK = "paidonce.devstack.issuer"
metadata = MetaData(schema=SCHEMA)


def _time(name: str, *, missing: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=missing)


#: Who may log in. Home: devstack/issuer/people.py
people = Table(
    "people",
    metadata,
    Column("name", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    #: argon2id, in its own text form
    Column("password_hash", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
)

#: A login on one device, and every refresh token that follows from it. Home: devstack/issuer/families.py
families = Table(
    "families",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("sub", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    _time("begun_at"),
    #: however often it is refreshed
    _time("expires_at"),
    #: NULL: it lives
    _time("revoked_at", missing=True),
)

#: Home: devstack/issuer/families.py
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("family_id", Uuid, ForeignKey(families.c.id, ondelete="CASCADE"), nullable=False),
    #: unless it is used before
    _time("expires_at"),
    #: NULL: it is the family's newest
    _time("used_at", missing=True),
    Index("refresh_tokens_family", "family_id"),
)

#: Authorization codes. Home: devstack/issuer/codes.py
codes = Table(
    "codes",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    #: the family that its exchange begins
    Column("family_id", Uuid, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    #: S256 of the client's verifier (RFC 7636)
    Column("challenge", Text, nullable=False),
    Column("sub", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    _time("expires_at"),
    _time("used_at", missing=True),
)

#: Access tokens that say nothing by themselves. Home: devstack/issuer/access_tokens.py
opaque_tokens = Table(
    "opaque_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("claims", JSONB, nullable=False),
    _time("expires_at"),
)

#: Access tokens that were revoked before their end, by `jti`. Home: devstack/issuer/access_tokens.py
revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("jti", Text, primary_key=True),
    _time("expires_at"),
)

#: What somebody must hear of. Home: devstack/issuer/events.py
events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _time("at"),
    Column("name", Text, nullable=False),
    Column("about", JSONB, nullable=False),
)


def make(tx: Connection) -> None:
    """Make the schema and what is missing in it."""
    tx.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": _LOCK})
    tx.execute(CreateSchema(SCHEMA, if_not_exists=True))
    metadata.create_all(tx)
