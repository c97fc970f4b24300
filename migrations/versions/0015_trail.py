"""Find what belongs to one payment: its events, its keys, its dead letters, and it by the merchant's reference.

On a large outbox each index is made while nobody can write; docs/decisions/0021 says how to make them before.
"""

from alembic import op

revision = "0015"
down_revision = "0013"


def upgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS outbox_aggregate ON outbox (aggregateid)")
    op.execute("CREATE INDEX IF NOT EXISTS idempotency_resource ON idempotency (resource_id)")
    op.execute("CREATE INDEX IF NOT EXISTS dead_letters_key ON dead_letters (key)")
    op.execute("CREATE INDEX IF NOT EXISTS payments_reference ON payments (reference, id) WHERE reference IS NOT NULL")
