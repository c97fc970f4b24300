"""Which types of PostgreSQL does SQLAlchemy not know? Those of transactions."""

from sqlalchemy.types import UserDefinedType


class Xid8(UserDefinedType[int]):
    """A full transaction id, which never wraps around."""

    cache_ok = True

    def get_col_spec(self, **_options: object) -> str:
        """Return the type's name in SQL."""
        return "xid8"


class Snapshot(UserDefinedType[str]):
    """A `pg_snapshot`: which transactions were visible at one moment."""

    cache_ok = True

    def get_col_spec(self, **_options: object) -> str:
        """Return the type's name in SQL."""
        return "pg_snapshot"
