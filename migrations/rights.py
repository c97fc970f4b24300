"""Who may do what with which table? One table of rights, for the roles that `paidonce migrate --roles` makes.

A right that no statement of that process needs is not here (docs/roles.md, which a test holds against this). `outbox`
and `inbox` belong to PARTITIONS, since only an owner attaches, detaches and drops their days; everything else belongs
to whoever migrates.
"""

from collections.abc import Mapping, Sequence

#: Owns `outbox`, `inbox` and their days: the cleaner is a member, and whoever migrates.
PARTITIONS = "paidonce_partitions"
API, RELAY, CONSUMER = "paidonce_api", "paidonce_relay", "paidonce_consumer"
EFFECTS, CLEANER = "paidonce_effects", "paidonce_cleaner"
#: The handlers, effects and routes of yours (docs/own-workers.md).
OWN = "paidonce_own"
#: Who runs the commands that change something, and who only looks.
OPERATOR, READER = "paidonce_operator", "paidonce_reader"

ROLES = (PARTITIONS, API, RELAY, CONSUMER, EFFECTS, CLEANER, OWN, OPERATOR, READER)

#: Letter -> privilege. A lock on a row (FOR UPDATE, FOR SHARE) takes the right to update.
PRIVILEGES = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE"}

#: table -> role -> letters. Who reads any table looks at the schema's version first.
RIGHTS: Mapping[str, Mapping[str, str]] = {
    "alembic_version": {role: "S" for role in ROLES if role != PARTITIONS},
    "installation": {RELAY: "SI", OWN: "SI", CLEANER: "S", OPERATOR: "SIU", READER: "S"},
    "idempotency": {API: "SIU", OWN: "SIU", CLEANER: "SUD", READER: "S"},
    "payments": {API: "SIU", CONSUMER: "SU", EFFECTS: "SU", READER: "S"},
    "cart_checkouts": {API: "SI", READER: "S"},
    "refunds": {API: "SIU", CONSUMER: "SU", EFFECTS: "SU", READER: "S"},
    "customers": {API: "SIUD", READER: "S"},
    # It has the merchants' secrets.
    "webhook_endpoints": {API: "SIUD", CONSUMER: "S", EFFECTS: "S"},
    "outbox": {API: "SI", RELAY: "S", CONSUMER: "S", EFFECTS: "I", OWN: "SI", OPERATOR: "SIU", READER: "S"},
    "outbox_days_gone": {CLEANER: "SIUD", READER: "S"},
    "relay_windows": {API: "S", RELAY: "SIU", CLEANER: "SD", OPERATOR: "SID", READER: "S"},
    "leases": {RELAY: "SIUD", CLEANER: "SIU", OPERATOR: "SIU", READER: "S"},
    "inbox": {API: "SI", CONSUMER: "SID", OWN: "SID", READER: "S"},
    "inbox_foreign": {API: "SI", CONSUMER: "SID", OWN: "SID", CLEANER: "SID", READER: "S"},
    "readers": {API: "S", CLEANER: "SI", OPERATOR: "SD", READER: "S"},
    "parked": {API: "S", CONSUMER: "SIUD", OWN: "SIUD", OPERATOR: "SI", READER: "S"},
    "starts": {API: "S", CONSUMER: "SIUD", OWN: "SIUD", CLEANER: "S", OPERATOR: "SD", READER: "S"},
    "dead_letters": {API: "SIU", CONSUMER: "SIU", EFFECTS: "SIU", OWN: "SIU", OPERATOR: "SU", READER: "S"},
    "brakes": {CONSUMER: "SI", OWN: "SI", OPERATOR: "SD", READER: "S"},
    "effects": {API: "S", CONSUMER: "SI", EFFECTS: "SU", OWN: "SIU", OPERATOR: "SU", READER: "S"},
    "effect_history": {API: "S", CONSUMER: "I", EFFECTS: "SI", OWN: "SI", OPERATOR: "SI", READER: "S"},
    "ledger_entries": {API: "S", CONSUMER: "SI", READER: "S"},
    # Nobody may change it: what was done stays written.
    "audit": {OPERATOR: "SI", READER: "S"},
}
#: (table, role) -> the columns that it reads of a table that it may not read whole.
COLUMNS: Mapping[tuple[str, str], Sequence[str]] = {
    # What the trail asks of an endpoint, which says neither where it is nor its secret.
    ("webhook_endpoints", READER): ("tenant", "events", "updated_at"),
}


def wanted() -> set[tuple[str, str, str]]:
    """Return every (table, role, privilege) that is to be, and none besides."""
    return {
        (table, role, PRIVILEGES[letter])
        for table, of_roles in RIGHTS.items()
        for role, letters in of_roles.items()
        for letter in letters
    }
