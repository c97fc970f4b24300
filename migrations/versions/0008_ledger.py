"""Keep the ledger; a transaction whose lines do not sum to zero cannot commit."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ledger_entries (
            transaction_id uuid,
            account text,
            tenant text NOT NULL,
            currency char(3) NOT NULL,
            amount bigint NOT NULL CHECK (amount <> 0),
            kind text NOT NULL,
            payment_id uuid NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (transaction_id, account)
        )
    """)
    op.execute("CREATE INDEX ledger_entries_payment ON ledger_entries (payment_id)")
    op.execute("""
        CREATE FUNCTION ledger_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (SELECT sum(amount) <> 0 OR count(DISTINCT (tenant, currency)) <> 1
                  FROM ledger_entries WHERE transaction_id = NEW.transaction_id) THEN
                RAISE EXCEPTION 'ledger transaction % does not sum to zero', NEW.transaction_id
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE CONSTRAINT TRIGGER ledger_balanced AFTER INSERT OR UPDATE ON ledger_entries
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_balanced()
    """)
