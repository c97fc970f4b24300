"""What is done to the stack, one fault at a time, and undone (docs/design.md, "The fault rig")."""
