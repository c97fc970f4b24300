"""Remember what was fixed when this database was first used."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE TABLE installation (name text PRIMARY KEY, value text NOT NULL)")
