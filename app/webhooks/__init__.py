"""Webhooks both ways, signed by the Standard Webhooks specification (docs/design.md, "Webhooks")."""
