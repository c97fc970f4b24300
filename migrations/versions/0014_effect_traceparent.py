"""Keep with a call to the outside the trace of what it is made for, so that the call and its result are in it too."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute("ALTER TABLE effects ADD COLUMN traceparent text")
