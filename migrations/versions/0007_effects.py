"""Keep a row for each call to the outside before it is made, and the whole history of each."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE effects (
            id uuid PRIMARY KEY,
            kind text NOT NULL,
            subject text NOT NULL,
            tenant text NOT NULL,
            state text NOT NULL DEFAULT 'pending'
                CHECK (state IN ('pending', 'running', 'done', 'refused', 'unknown')),
            attempts integer NOT NULL DEFAULT 0,
            open_attempt boolean NOT NULL DEFAULT false,
            first_sent_at timestamptz,
            next_attempt_at timestamptz DEFAULT now(),
            claim_token uuid,
            lease_until timestamptz,
            request bytea NOT NULL,
            response bytea,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT effects_subject UNIQUE (kind, subject)
        )
    """)
    op.execute("""
        CREATE INDEX effects_due ON effects (kind, next_attempt_at) WHERE state IN ('pending', 'running', 'unknown')
    """)
    op.execute("""
        CREATE TABLE effect_history (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            effect_id uuid NOT NULL,
            claim_token uuid,
            event text NOT NULL,
            state text NOT NULL,
            detail jsonb NOT NULL DEFAULT '{}',
            at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
    """)
    op.execute("CREATE INDEX effect_history_effect ON effect_history (effect_id, id)")
