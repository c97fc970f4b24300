"""Keep events to publish, the windows in which they go out, and who may send them.

The number of shards is fixed here: it is part of the column that computes the shard.
"""

from alembic import context, op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    shards = int(context.config.attributes["settings"].outbox_shards)
    op.get_bind().execute(
        text("INSERT INTO installation (name, value) VALUES ('outbox_shards', :shards)"),
        {"shards": str(shards)},
    )
    op.execute(f"""
        CREATE TABLE outbox (
            position bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
            txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            shard smallint NOT NULL
                GENERATED ALWAYS AS ((hashtextextended(aggregateid, 0) & 9223372036854775807) % {shards}) STORED,
            id uuid NOT NULL,
            aggregatetype text NOT NULL,
            aggregateid text NOT NULL,
            type text NOT NULL,
            sequence bigint NOT NULL,
            payload bytea NOT NULL,
            headers jsonb NOT NULL DEFAULT '{{}}',
            created_at timestamptz NOT NULL DEFAULT now()
        ) PARTITION BY RANGE (created_at)
    """)
    op.execute("CREATE INDEX outbox_shard_txid ON outbox (shard, txid, position)")
    op.execute("CREATE INDEX outbox_shard_position ON outbox (shard, position)")
    op.execute("CREATE INDEX outbox_id ON outbox (id)")
    op.execute("""
        CREATE TABLE leases (
            name text PRIMARY KEY,
            owner text,
            epoch bigint NOT NULL DEFAULT 0,
            expires_at timestamptz
        )
    """)
    op.execute("""
        CREATE TABLE relay_windows (
            shard smallint,
            number bigint,
            epoch bigint NOT NULL,
            s1 pg_snapshot NOT NULL,
            s2 pg_snapshot NOT NULL,
            lo bigint NOT NULL,
            hi bigint NOT NULL,
            identity uuid NOT NULL,
            published timestamptz,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (shard, number)
        )
    """)
