"""A small shop beside Paidonce: own API, own tables, own handlers, a receipt by e-mail (docs/own-workers.md)."""
