"""Keep one row for each Idempotency-Key; the primary key is what a second claim runs into."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE idempotency (
            tenant text,
            endpoint text,
            idem_key text,
            request_hash char(64) NOT NULL,
            hash_version smallint NOT NULL,
            response_status smallint,
            response_headers jsonb,
            response_body bytea,
            resource_id text,
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (tenant, endpoint, idem_key)
        )
    """)
    op.execute("CREATE INDEX idempotency_expires_at ON idempotency (expires_at)")
