"""The database schema, one step per change, forward only."""
