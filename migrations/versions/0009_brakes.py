"""Keep an engaged brake where every member of its group sees it, and count how often a dead letter was redriven."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE brakes (
            consumer text PRIMARY KEY,
            reason text NOT NULL,
            engaged_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("ALTER TABLE dead_letters ADD COLUMN redrives smallint NOT NULL DEFAULT 0")
