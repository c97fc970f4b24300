"""What teams use beside their own API: events, handlers, effects and keys of their own (docs/own-workers.md)."""
