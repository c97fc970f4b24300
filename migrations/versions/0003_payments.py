"""Keep payments and their refunds; money is integer minor units."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE payments (
            id uuid PRIMARY KEY,
            tenant text NOT NULL,
            status text NOT NULL
                CHECK (status IN ('pending', 'charging', 'captured', 'declined', 'canceled', 'refunded')),
            amount bigint NOT NULL CHECK (amount > 0),
            currency char(3) NOT NULL,
            payment_method text NOT NULL,
            customer_id text,
            reference text,
            description text,
            metadata jsonb NOT NULL DEFAULT '{}',
            amount_refunded bigint NOT NULL DEFAULT 0 CHECK (amount_refunded BETWEEN 0 AND amount),
            provider_charge_id text,
            decline_code text,
            version bigint NOT NULL DEFAULT 1,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX payments_tenant ON payments (tenant, id)")
    op.execute("CREATE INDEX payments_tenant_status ON payments (tenant, status, id)")
    op.execute("CREATE INDEX payments_tenant_customer ON payments (tenant, customer_id, id)")
    op.execute("""
        CREATE TABLE refunds (
            id uuid PRIMARY KEY,
            payment_id uuid NOT NULL REFERENCES payments (id),
            tenant text NOT NULL,
            status text NOT NULL CHECK (status IN ('pending', 'refunding', 'succeeded', 'failed')),
            amount bigint NOT NULL CHECK (amount > 0),
            reason text,
            provider_refund_id text,
            failure_code text,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX refunds_payment ON refunds (payment_id, id)")
