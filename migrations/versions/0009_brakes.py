"""Keep an engaged brake where every member of its group sees it, and tell how redriven dead letters ended."""

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
    op.execute("""
        ALTER TABLE dead_letters
              DROP CONSTRAINT dead_letters_state_check,
              ADD CONSTRAINT dead_letters_state_check CHECK (state IN ('dead', 'redriven', 'done', 'discarded'))
    """)
