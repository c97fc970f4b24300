"""Keep what each consumer has seen, what it put aside, and what nobody could work on."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE inbox (
            consumer text,
            message_id uuid,
            arrived_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (consumer, message_id)
        ) PARTITION BY RANGE (message_id)
    """)
    op.execute("""
        CREATE TABLE inbox_foreign (
            consumer text,
            message_id text,
            arrived_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (consumer, message_id)
        )
    """)
    op.execute("CREATE INDEX inbox_foreign_arrived_at ON inbox_foreign (arrived_at)")
    op.execute("""
        CREATE TABLE parked (
            position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            consumer text NOT NULL,
            message_id text NOT NULL,
            key text NOT NULL,
            envelope jsonb NOT NULL,
            value bytea NOT NULL,
            attempts integer NOT NULL DEFAULT 0,
            reason text NOT NULL,
            next_attempt_at timestamptz NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT parked_message UNIQUE (consumer, message_id)
        )
    """)
    op.execute("CREATE INDEX parked_key ON parked (consumer, key, position)")
    op.execute("CREATE INDEX parked_due ON parked (consumer, next_attempt_at)")
    op.execute("""
        CREATE TABLE starts (
            consumer text,
            topic text,
            partition integer,
            holder uuid,
            alone_offset bigint,
            alone_starts integer NOT NULL DEFAULT 0,
            PRIMARY KEY (consumer, topic, partition)
        )
    """)
    op.execute("""
        CREATE TABLE dead_letters (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            consumer text NOT NULL,
            message_id text NOT NULL,
            key text,
            envelope jsonb NOT NULL,
            value bytea,
            reason text NOT NULL,
            state text NOT NULL DEFAULT 'dead' CHECK (state IN ('dead', 'redriven', 'discarded')),
            created_at timestamptz NOT NULL DEFAULT now(),
            settled_at timestamptz,
            CONSTRAINT dead_letters_message UNIQUE (consumer, message_id)
        )
    """)
