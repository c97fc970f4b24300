"""Payments, refunds, their ledger and the port to the provider (docs/design.md, "Effects")."""
