"""The embedded stack: real servers on this machine, from packages alone (docs/design.md, "Embedded")."""
