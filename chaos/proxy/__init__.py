"""A TCP proxy whose faults begin at an event of the protocol (docs/design.md, "The fault rig")."""
