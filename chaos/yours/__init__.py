"""The rig around somebody else's pipeline: all that is known of it is its adapter (docs/chaos-your-own.md)."""
