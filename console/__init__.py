"""The console: what an operator sees of the pipeline in a browser, and what they may do about it (docs/console.md)."""
