"""Figures, each beside its peer in the same run (docs/performance.md)."""
