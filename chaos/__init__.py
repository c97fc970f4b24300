"""The fault rig: workload, faults, history, checkers (docs/design.md, "The fault rig")."""
