"""Which tables are there? Columns and types, once; what they mean is in docs/design.md, "Tables".

A table's statements live in its home, named beside it; partitions, generated columns and triggers are the migrations'.
"""

from sqlalchemy import Column, Computed, ForeignKey, Identity, Index, MetaData, Table, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, UUID
from sqlalchemy.types import CHAR, BigInteger, Boolean, Date, Integer, LargeBinary, SmallInteger, Text

from paidonce.app.sql_types import Snapshot, Xid8

metadata = MetaData()
Moment = TIMESTAMP(timezone=True)
_NOW = text("now()")


def _created(name: str = "created_at") -> Column[object]:
    return Column(name, Moment, nullable=False, server_default=_NOW)


def _written() -> list[Column[object]]:
    return [_created(), _created("updated_at")]


def _key(*names: str) -> list[Column[str]]:
    return [Column(name, Text, primary_key=True) for name in names]


def _texts(*names: str, nullable: bool = False) -> list[Column[str]]:
    return [Column(name, Text, nullable=nullable) for name in names]


#: What was fixed when this database was first used. Home: app/installation.py
installation = Table(
    "installation", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)

#: One row a key. A tombstone has no response. Home: app/idempotency/store.py
idempotency = Table(
    "idempotency",
    metadata,
    *_key("tenant", "endpoint", "idem_key"),
    Column("request_hash", CHAR(64), nullable=False),
    Column("hash_version", SmallInteger, nullable=False),
    Column("response_status", SmallInteger),
    Column("response_headers", JSONB),
    Column("response_body", LargeBinary),
    Column("resource_id", Text),
    _created(),
    Column("expires_at", Moment, nullable=False),
    Index("idempotency_expires_at", "expires_at"),
    Index("idempotency_resource", "resource_id"),
)

#: One row a payment; `version` counts its changes and is its ETag. Home: app/payments/store.py
payments = Table(
    "payments",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    *_texts("tenant", "status"),
    Column("amount", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("payment_method", Text, nullable=False),
    *_texts("customer_id", "reference", "description", nullable=True),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("amount_refunded", BigInteger, nullable=False, server_default=text("0")),
    *_texts("provider_charge_id", "decline_code", nullable=True),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    *_written(),
    Index("payments_tenant", "tenant", "id"),
    Index("payments_tenant_status", "tenant", "status", "id"),
    Index("payments_tenant_customer", "tenant", "customer_id", "id"),
    Index("payments_reference", "reference", "id", postgresql_where=text("reference IS NOT NULL")),
)

#: Which version of which cart was paid, by which payment. Home: app/payments/checkouts.py
cart_checkouts = Table(
    "cart_checkouts",
    metadata,
    *_key("tenant", "cart_id", "version"),
    # deferred: a version is taken before its payment is there
    Column("payment_id", UUID(as_uuid=True), ForeignKey("payments.id", initially="DEFERRED"), nullable=False),
    Column("request_hash", CHAR(64), nullable=False),
    _created(),
)

#: One row a refund. Home: app/payments/refunds.py
refunds = Table(
    "refunds",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("payment_id", UUID(as_uuid=True), ForeignKey("payments.id"), nullable=False),
    *_texts("tenant", "status"),
    Column("amount", BigInteger, nullable=False),
    *_texts("reason", "provider_refund_id", "failure_code", nullable=True),
    *_written(),
    Index("refunds_payment", "payment_id", "id"),
)

#: Customers under the merchant's own ids. Home: app/customers/store.py
customers = Table(
    "customers",
    metadata,
    *_key("tenant", "id"),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    *_written(),
)

#: Where a tenant's events go. Home: app/webhooks/endpoints.py
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("tenant", Text, primary_key=True),
    *_texts("url", "secret"),
    Column("events", ARRAY(Text)),
    *_written(),
)

#: Events to publish, under Debezium's names; append-only, by days of created_at. Home: app/messaging/outbox.py
outbox = Table(
    "outbox",
    metadata,
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("txid", Xid8, nullable=False, server_default=func.pg_current_xact_id()),
    Column("shard", SmallInteger, Computed("fixed by the first migration", persisted=True), nullable=False),
    Column("id", UUID(as_uuid=True), nullable=False),
    *_texts("aggregatetype", "aggregateid", "type"),
    Column("sequence", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("headers", JSONB, nullable=False, server_default=text("'{}'")),
    _created(),
    Index("outbox_shard_txid", "shard", "txid", "position"),
    Index("outbox_shard_position", "shard", "position"),
    Index("outbox_id", "id"),
    Index("outbox_aggregate", "aggregateid"),
)

#: When a day's partition left the outbox, until nothing of it can come back. Home: app/messaging/partitions.py
outbox_days_gone = Table("outbox_days_gone", metadata, Column("day", Date, primary_key=True), _created("at"))

#: What the relay publishes, one row before each Kafka transaction. Home: workers/windows.py
relay_windows = Table(
    "relay_windows",
    metadata,
    Column("shard", SmallInteger, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("s1", Snapshot, nullable=False),
    Column("s2", Snapshot, nullable=False),
    Column("lo", BigInteger, nullable=False),
    Column("hi", BigInteger, nullable=False),
    Column("identity", UUID(as_uuid=True), nullable=False),
    Column("published", Moment),
    _created(),
)

#: Who owns what, on the database's clock; `epoch` grows with each owner. Home: workers/leases.py
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("expires_at", Moment),
)

#: Which message each consumer has worked on, by day of the id. Home: app/messaging/inbox.py
inbox = Table(
    "inbox",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("message_id", UUID(as_uuid=True), primary_key=True),
    Column("arrived_at", Moment, nullable=False, server_default=_NOW),
)

#: The same for ids that are not ours. Home: app/messaging/inbox.py
inbox_foreign = Table(
    "inbox_foreign",
    metadata,
    *_key("consumer", "message_id"),
    Column("arrived_at", Moment, nullable=False, server_default=_NOW),
    Index("inbox_foreign_arrived_at", "arrived_at"),
)

#: Which consumers the installation waits for before it forgets, and since when. Home: app/messaging/readers.py
readers = Table("readers", metadata, *_key("consumer", "topic"), _created("since"))

#: Messages that wait, with every later one of their key. Home: app/messaging/parked.py
parked = Table(
    "parked",
    metadata,
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    *_texts("consumer", "message_id", "key"),
    Column("envelope", JSONB, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("reason", Text, nullable=False),
    Column("next_attempt_at", Moment, nullable=False),
    _created(),
    UniqueConstraint("consumer", "message_id", name="parked_message"),
    Index("parked_key", "consumer", "key", "position"),
    Index("parked_due", "consumer", "next_attempt_at"),
)

#: Who reads a partition, and the message it started alone after a crash. Home: app/messaging/starts.py
starts = Table(
    "starts",
    metadata,
    *_key("consumer", "topic"),
    Column("partition", Integer, primary_key=True),
    Column("holder", UUID(as_uuid=True)),
    Column("alone_offset", BigInteger),
    Column("alone_starts", Integer, nullable=False, server_default=text("0")),
)

#: Messages that nobody could work on, whole. Home: app/messaging/dead_letters.py
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    *_texts("consumer", "message_id"),
    Column("key", Text),
    Column("envelope", JSONB, nullable=False),
    Column("value", LargeBinary),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'dead'")),
    _created(),
    Column("settled_at", Moment),
    Column("redrives", SmallInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("consumer", "message_id", name="dead_letters_message"),
    Index("dead_letters_key", "key"),
)

#: Consumers that stopped because most of what arrived was poison; a row while one stands. Home: app/messaging/brakes.py
brakes = Table("brakes", metadata, *_key("consumer"), Column("reason", Text, nullable=False), _created("engaged_at"))

#: Calls to the outside, a row before each. Home: app/messaging/effects.py
effects = Table(
    "effects",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    *_texts("kind", "subject", "tenant"),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("open_attempt", Boolean, nullable=False, server_default=text("false")),
    Column("first_sent_at", Moment),
    Column("next_attempt_at", Moment, server_default=_NOW),
    Column("claim_token", UUID(as_uuid=True)),
    Column("lease_until", Moment),
    Column("request", LargeBinary, nullable=False),
    Column("response", LargeBinary),
    *_written(),
    Column("traceparent", Text),
    UniqueConstraint("kind", "subject", name="effects_subject"),
    Index(
        "effects_due", "kind", "next_attempt_at", postgresql_where=text("state IN ('pending', 'running', 'unknown')")
    ),
)

#: Every claim, attempt, answer and change of state; append-only. Home: app/messaging/effects.py
effect_history = Table(
    "effect_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("effect_id", UUID(as_uuid=True), nullable=False),
    Column("claim_token", UUID(as_uuid=True)),
    *_texts("event", "state"),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'")),
    Column("at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Index("effect_history_effect", "effect_id", "id"),
)

#: Double entry: the lines of a transaction sum to zero (checked at commit). Home: app/payments/ledger.py
ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("transaction_id", UUID(as_uuid=True), primary_key=True),
    Column("account", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payment_id", UUID(as_uuid=True), nullable=False),
    _created(),
    Index("ledger_entries_payment", "payment_id"),
)

#: What a person's hand did, and why; append-only. Home: app/audit.py
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _created("at"),
    *_texts("actor", "via", "action", "subject", "about", "reason"),
    Index("audit_subject", "subject", "id"),
)
