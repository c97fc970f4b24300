"""Keep who reads the topic and since when, and when a day left the outbox: both decide what may be forgotten."""

from alembic import op

revision = "0012"
down_revision = "0009"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE readers (
            consumer text,
            topic text,
            since timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (consumer, topic)
        )
    """)
    op.execute("""
        CREATE TABLE outbox_days_gone (
            day date PRIMARY KEY,
            at timestamptz NOT NULL DEFAULT now()
        )
    """)
