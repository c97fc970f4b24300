"""One key, one result: the Idempotency-Key of HTTP (docs/design.md, "Idempotent HTTP")."""
