"""Outbox, inbox, effects and dead letters: the tables between processes (docs/design.md, "Outbox")."""
