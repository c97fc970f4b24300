"""Keep who decided what about dead letters and brakes, and why; nobody can change or remove what is written."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE audit (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at timestamptz NOT NULL DEFAULT now(),
            actor text NOT NULL,
            via text NOT NULL CHECK (via IN ('console', 'command line')),
            action text NOT NULL,
            subject text NOT NULL,
            about text NOT NULL,
            reason text NOT NULL
        )
    """)
    op.execute("CREATE INDEX audit_subject ON audit (subject, id)")
    op.execute("""
        CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'audit is append-only: write another row';
        END
        $$
    """)
    op.execute("""
        CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
           FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
    """)
