"""Keep which version of a cart was paid, and by which payment: a cart that comes back is not paid again."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE cart_checkouts (
            tenant text,
            cart_id text,
            version text,
            payment_id uuid NOT NULL REFERENCES payments (id) INITIALLY DEFERRED,
            request_hash char(64) NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (tenant, cart_id, version)
        )
    """)
