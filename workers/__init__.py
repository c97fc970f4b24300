"""The background processes: relay, consumers, effects, cleaner (docs/design.md, "Processes")."""
