"""Keep customers and webhook endpoints, both under ids that the merchant chooses."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE customers (
            tenant text,
            id text,
            name text NOT NULL,
            email text,
            metadata jsonb NOT NULL DEFAULT '{}',
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant, id)
        )
    """)
    op.execute("""
        CREATE TABLE webhook_endpoints (
            tenant text PRIMARY KEY,
            url text NOT NULL,
            secret text NOT NULL,
            events text[],
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
    """)
